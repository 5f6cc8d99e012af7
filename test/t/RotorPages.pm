# The fenced blocks of the pages, and how each language is run: for tests that do what a page says.
#
# What the commands print is not shown: there are passwords in it.
package RotorPages;

use strict;
use warnings;
use Exporter 'import';
use IPC::Run ();
use PostgreSQL::Test::Utils;
use RotorTest;

our @EXPORT = qw(pages blocks_of run_sh is_quiet);

my $top = $ENV{ROTOR_TOP} // '..';

# README.md and docs/*.md, as seen from the top.
sub pages
{
	return ('README.md', map { s{.*/}{docs/}r } sort glob("$top/docs/*.md"));
}

# {file, line, language, text, first} of each fenced block of a page; heading is the one above it.
sub blocks_of
{
	my ($file) = @_;
	my ($line, $heading, @blocks, $open) = (0, '');

	for (split /\n/, slurp_file("$top/$file"))
	{
		$line++;
		$heading = $1 if !$open && /^#+ (.*)$/;
		if (!$open && /^\s*```(.*)$/)
		{
			$open = { file => $file, line => $line, language => $1, heading => $heading, text => '' };
		}
		elsif ($open && /^\s*```\s*$/)
		{
			($open->{first}) = split /\n/, $open->{text};
			push @blocks, $open;
			$open = undef;
		}
		elsif ($open)
		{
			$open->{text} .= "$_\n";
		}
	}
	die "$file:$open->{line}: the block has no end" if $open;
	return @blocks;
}

# Shell commands, each of which must succeed, as somebody on the server's machine: {ok, out, err}
# More of the environment may be given: run_sh($node, $text, NAME => value, ...)
sub run_sh
{
	my ($node, $text, %environment) = @_;
	my ($out, $err) = ('', '');
	local %ENV = (%ENV, PGHOST => $node->host, PGPORT => $node->port, PGUSER => 'postgres', PGDATABASE => 'postgres',
		PGDATA => $node->data_dir, %environment);

	delete $ENV{PGPASSWORD};
	IPC::Run::run([ 'sh', '-eu' ], '<', \$text, '>', \$out, '2>', \$err, IPC::Run::timeout(120));
	return { ok => $? == 0, out => $out, err => $err };
}

# Nothing is in progress: what comes next does not depend on how quick a worker is.
sub is_quiet
{
	my ($node) = @_;
	return sql($node, q{SELECT to_regclass('rotor.rotation') IS NULL}) eq 't'
	  || sql($node, q{SELECT count(*) FROM rotor.rotation WHERE status IN ('pending', 'in_progress', 'verifying')}) eq '0';
}

1;
