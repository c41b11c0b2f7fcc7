#!/usr/bin/perl
# fork_server.pl PORT: a child for each connection. A line "get N" is answered by N bytes, any other line by itself.
use strict;
use warnings;
use IO::Socket::INET;

my $server = IO::Socket::INET->new(LocalAddr => '127.0.0.1', LocalPort => $ARGV[0], Listen => 50, ReuseAddr => 1)
    or die "cannot listen: $!";
my $ended = 0;
$SIG{TERM} = sub { $ended = 1; close $server };
$SIG{CHLD} = sub { 1 while waitpid(-1, 1) > 0 };

until ($ended) {
    my $client = $server->accept or next;
    defined(my $pid = fork) or die "cannot fork: $!";
    if ($pid) {
        close $client;
        next;
    }
    $SIG{TERM} = $SIG{CHLD} = 'DEFAULT';
    close $server;
    my $lines = 0;
    while (my $line = <$client>) {
        $lines++;
        if ($line =~ /^get (\d+)$/) {
            print $client pack('C*', map { $_ * 7 % 251 } 1 .. 1000) x ($1 / 1000);
        } else {
            print $client $line;
        }
    }
    print $client "$lines lines\n";
    exit 0;
}
