#!/usr/bin/perl
#
# Runs TAP files, several at a time, and counts tests rather than files: tap.pl JOBS FILE...
#
# Each file gets one line on file descriptor 3 as soon as it has ended, with the reasons for what it skipped. The last line
# on standard output is "counts: PASSED FAILED SKIPPED"; all else there is the harness's own report. A file that ends badly
# without a failed test of its own (it died, or ran fewer tests than it planned) counts as one failed test.

use strict;
use warnings;
use Fcntl;
use TAP::Harness;

my ($jobs, @files) = @ARGV;
die "usage: tap.pl JOBS FILE...\n" unless $jobs && @files;

open(my $progress, '>&=', 3) or die "file descriptor 3 is not open: $!\n";
fcntl($progress, F_SETFD, FD_CLOEXEC) or die "fcntl: $!\n";
$progress->autoflush(1);

my ($passed, $failed, $skipped) = (0, 0, 0);
my %reasons;    # by parser

my $harness = TAP::Harness->new({
    jobs      => $jobs,
    lib       => [ grep { length } split /:/, $ENV{PERL5LIB} // '' ],
    verbosity => 0,
    failures  => 1,
});

$harness->callback(
    made_parser => sub {
        my ($parser) = @_;
        $parser->callback(
            test => sub {
                my ($test) = @_;
                push @{ $reasons{$parser} }, $test->explanation if $test->has_skip;
            });
    });

$harness->callback(
    after_test => sub {
        my ($job, $parser) = @_;
        my @skipped = $parser->skipped;
        my @failed  = $parser->failed;
        my $bad     = @failed;

        $bad = 1 if $parser->has_problems && !$bad;
        if (defined $parser->skip_all)
        {
            $skipped += 1;
            push @{ $reasons{$parser} }, 'all: ' . $parser->skip_all;
        }
        $skipped += @skipped;
        $passed  += $parser->passed - @skipped;
        $failed  += $bad;

        printf $progress "   %-6s %-32s %4d tests %7.1f s\n", $bad ? 'FAILED' : 'ok', $job->[1] // $job->[0],
            $parser->tests_run, $parser->end_time - $parser->start_time;
        print "failed file: $job->[0]\n" if $bad;
        my %seen;
        print $progress "          skipped: $_\n" for grep { !$seen{$_}++ } @{ $reasons{$parser} // [] };
    });

$harness->runtests(@files);
print "counts: $passed $failed $skipped\n";
exit($failed ? 1 : 0);
