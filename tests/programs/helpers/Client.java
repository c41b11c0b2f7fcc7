// Client PORT NIO_PORT: HTTP by java.net.http on open connections, and twenty non-blocking echoes by one Selector.

import java.net.InetSocketAddress;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.SocketChannel;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CompletableFuture;

public class Client {
    static final int CHANNELS = 20, BYTES = 500_000;

    public static void main(String[] arguments) throws Exception {
        http("http://127.0.0.1:" + arguments[0]);
        echo(Integer.parseInt(arguments[1]));
        System.exit(0);
    }

    static void http(String at) throws Exception {
        HttpClient client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).build();
        byte[] body = bytes(0, 3_000_000);
        for (int n = 0; n < 50; n++) {
            byte[] small = bytes(n, 1 + n * 100);
            check(Arrays.equals(post(client, at, small).join().body(), small), "another small body came back");
        }
        List<CompletableFuture<HttpResponse<byte[]>>> answers = new ArrayList<>();
        for (int n = 0; n < 6; n++) {
            answers.add(post(client, at, body));
        }
        for (CompletableFuture<HttpResponse<byte[]>> answer : answers) {
            check(Arrays.equals(answer.join().body(), body), "another large body came back");
        }
        HttpRequest request = HttpRequest.newBuilder(URI.create(at + "/bytes/5000000")).build();
        byte[] streamed = client.send(request, HttpResponse.BodyHandlers.ofByteArray()).body();
        System.out.println("streamed " + streamed.length + " " + sha(streamed));
    }

    static CompletableFuture<HttpResponse<byte[]>> post(HttpClient client, String at, byte[] body) {
        HttpRequest request =
            HttpRequest.newBuilder(URI.create(at + "/echo")).POST(HttpRequest.BodyPublishers.ofByteArray(body)).build();
        return client.sendAsync(request, HttpResponse.BodyHandlers.ofByteArray());
    }

    static void echo(int port) throws Exception {
        Selector selector = Selector.open();
        ByteBuffer[] sent = new ByteBuffer[CHANNELS], got = new ByteBuffer[CHANNELS];
        for (int n = 0; n < CHANNELS; n++) {
            sent[n] = ByteBuffer.wrap(bytes(n, BYTES));
            got[n] = ByteBuffer.allocate(BYTES + 1);
            SocketChannel channel = SocketChannel.open();
            channel.configureBlocking(false);
            channel.connect(new InetSocketAddress("127.0.0.1", port));
            channel.register(selector, SelectionKey.OP_CONNECT, n);
        }
        for (int open = CHANNELS; open > 0;) {
            check(selector.select(15_000) > 0, "nothing happens");
            for (SelectionKey key : selector.selectedKeys()) {
                int n = (Integer) key.attachment();
                SocketChannel channel = (SocketChannel) key.channel();
                if (key.isConnectable()) {
                    channel.finishConnect();
                    key.interestOps(SelectionKey.OP_READ | SelectionKey.OP_WRITE);
                } else if (key.isWritable()) {
                    channel.write(sent[n]);
                    if (!sent[n].hasRemaining()) {
                        channel.shutdownOutput();
                        key.interestOps(SelectionKey.OP_READ);
                    }
                }
                if (key.isValid() && key.isReadable() && channel.read(got[n]) < 0) {
                    check(got[n].position() == BYTES, "channel " + n + ": " + got[n].position() + " bytes came back");
                    check(Arrays.equals(Arrays.copyOf(got[n].array(), BYTES), sent[n].array()), "other bytes came back");
                    channel.close();
                    open--;
                }
            }
            selector.selectedKeys().clear();
        }
        System.out.println("echoed " + CHANNELS + " times " + BYTES);
    }

    static byte[] bytes(int seed, int size) {
        byte[] data = new byte[size];
        new Random(seed).nextBytes(data);
        return data;
    }

    static String sha(byte[] data) throws Exception {
        return new java.math.BigInteger(1, MessageDigest.getInstance("SHA-256").digest(data)).toString(16);
    }

    static void check(boolean right, String text) {
        if (!right) {
            System.err.println(text);
            System.exit(1);
        }
    }
}
