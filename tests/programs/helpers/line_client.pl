#!/usr/bin/perl
# line_client.pl PORT NUMBER: talks to fork_server.pl by buffered lines, then by sysread and select.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use IO::Select;
use IO::Socket::INET;

my ($port, $number) = @ARGV;
my $socket = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port, Timeout => 15) or die "cannot connect: $!";
for my $n (1 .. 300) {
    my $line = "client $number line $n " . 'x' x ($n * 7 % 900) . "\n";
    print $socket $line;
    $socket->flush;
    die "another line came back" unless <$socket> eq $line;
}
my $size = 3_000_000;
print $socket "get $size\n";
$socket->flush;
my ($data, $select) = ('', IO::Select->new($socket));
$socket->blocking(0);
while (length $data < $size) {
    die 'nothing came' unless $select->can_read(15);
    my $n = sysread $socket, $data, 50_000, length $data;
    die "the end came" if defined $n && $n == 0;
}
$socket->blocking(1);
shutdown $socket, 1;
my $rest = join '', <$socket>;
print sha256_hex($data), " $rest";
