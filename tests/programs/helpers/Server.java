// Server PORT NIO_PORT: com.sun.net.httpserver with four threads, and an echo by one Selector. Ends on SIGTERM.

import com.sun.net.httpserver.HttpServer;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SelectionKey;
import java.nio.channels.Selector;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.util.concurrent.Executors;

public class Server {
    public static void main(String[] arguments) throws Exception {
        Thread echo = new Thread(() -> echo(Integer.parseInt(arguments[1])));
        echo.setDaemon(true);
        echo.start();
        HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[0])), 100);
        server.createContext("/echo", exchange -> {
            byte[] body = exchange.getRequestBody().readAllBytes();
            exchange.sendResponseHeaders(200, body.length == 0 ? -1 : body.length);
            try (OutputStream out = exchange.getResponseBody()) {
                out.write(body);
            }
        });
        server.createContext("/bytes/", exchange -> {
            int size = Integer.parseInt(exchange.getRequestURI().getPath().substring(7));
            byte[] piece = new byte[10_000];
            java.util.Arrays.fill(piece, (byte) 'j');
            exchange.sendResponseHeaders(200, 0);
            try (OutputStream out = exchange.getResponseBody()) {
                for (int left = size; left > 0; left -= piece.length) {
                    out.write(piece, 0, Math.min(left, piece.length));
                }
            }
        });
        server.setExecutor(Executors.newFixedThreadPool(4));
        server.start();
    }

    /** Echoes all connections; what a peer does not take yet is kept, and its socket is watched for room. */
    static void echo(int port) {
        try {
            Selector selector = Selector.open();
            ServerSocketChannel listener = ServerSocketChannel.open();
            listener.bind(new InetSocketAddress("127.0.0.1", port), 100);
            listener.configureBlocking(false);
            listener.register(selector, SelectionKey.OP_ACCEPT);
            while (true) {
                selector.select();
                for (SelectionKey key : selector.selectedKeys()) {
                    if (key.isAcceptable()) {
                        SocketChannel channel = listener.accept();
                        channel.configureBlocking(false);
                        channel.register(selector, SelectionKey.OP_READ, ByteBuffer.allocateDirect(65536));
                    } else {
                        turn(key);
                    }
                }
                selector.selectedKeys().clear();
            }
        } catch (Exception error) {
            error.printStackTrace();
            System.exit(1);
        }
    }

    static void turn(SelectionKey key) throws Exception {
        SocketChannel channel = (SocketChannel) key.channel();
        ByteBuffer kept = (ByteBuffer) key.attachment();
        if (key.isReadable() && channel.read(kept) < 0 && kept.position() == 0) {
            channel.close();
            return;
        }
        kept.flip();
        channel.write(kept);
        kept.compact();
        int wanted = kept.position() > 0 ? SelectionKey.OP_WRITE : 0;
        key.interestOps(wanted | (kept.hasRemaining() ? SelectionKey.OP_READ : 0));
    }
}
