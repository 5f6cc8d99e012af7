# The search for values that must be found nowhere: in all the forms in which one could have been written down.
package RotorLeaks;

use strict;
use warnings;
use Exporter 'import';
use IPC::Run ();
use MIME::Base64 qw(encode_base64);
use PostgreSQL::Test::Utils;
use RotorTest;

our @EXPORT = qw(findings findings_in_text sealed_values);

# A value in all the forms in which it could have been written down; halves, in case that something stands in between.
sub forms_of
{
	my ($value) = @_;
	my $middle = int(length($value) / 2);
	my %forms;

	for my $part (substr($value, 0, $middle), substr($value, $middle))
	{
		my @texts = ($part, scalar reverse $part);

		(my $doubled = $part) =~ s/'/''/g;
		(my $escaped = $part) =~ s/(["\\])/\\$1/g;
		(my $both = $doubled) =~ s/\\/\\\\/g;
		(my $percent = $part) =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ge;
		push @texts, $doubled, $escaped, $both, $percent, lc $percent, unpack('H*', $part), uc unpack('H*', $part), join(' ', unpack '(H2)*', $part);
		for my $shift (0 .. 2)
		{
			my $code = encode_base64(('x' x $shift) . $part . 'xxx', '');
			# Only the characters that depend on nothing but the part itself.
			my $from = $shift ? $shift + 1 : 0;
			push @texts, substr $code, $from, int((length($part) + $shift) * 4 / 3) - $from;
		}
		$forms{$_} = 1 for @texts;
	}
	return keys %forms;
}

# In how many lines of files, or of all files in folders, one of the values is to be found, in whatever form. The forms reach
# grep by a pipe, so that they are written nowhere.
sub findings
{
	my ($wanted, @paths) = @_;
	my $forms = join '', map { "$_\n" } grep { length >= 8 } map { forms_of($_) } @$wanted;
	my ($out, $err) = ('', '');
	local $ENV{LC_ALL} = 'C';

	# Files come and go while a server runs: -s.
	IPC::Run::run([ 'grep', '-rashcFf', '-', grep { -e } @paths ], '<', \$forms, '>', \$out, '2>', \$err);
	die "grep: $err" if $err ne '' || $? >> 8 > 2;
	my $sum = 0;
	$sum += $_ for split /\n/, $out;
	return $sum;
}

my $texts = 0;

sub findings_in_text
{
	my ($wanted, $text) = @_;
	our $folder //= PostgreSQL::Test::Utils::tempdir('texts');
	my $file = "$folder/" . $texts++;

	append_to_file($file, $text);
	my $count = findings($wanted, $file);
	unlink $file;
	return $count;
}

# Every value that rotor has ever sealed, also those that were refused or given up: a superuser labels them for himself, in
# a transaction that is undone. Values come as the result of a function, never in the text of a statement.
sub sealed_values
{
	my ($node) = @_;
	my $sql = '';

	for my $row (split /\n/, sql($node, 'SELECT v.id, s.id, s.name FROM rotor.version v JOIN rotor.secret s ON s.id = v.secret_id WHERE s.deleted_at IS NULL'))
	{
		my ($version, $id, $secret) = split /\|/, $row, 3;
		$secret =~ s/'/''/g;
		$sql .= "BEGIN;\nUPDATE rotor.version SET stage = NULL WHERE secret_id = $id;\n"
		  . "UPDATE rotor.version SET stage = 'pending' WHERE id = '$version';\n"
		  . "SELECT rotor.get_secret('$secret', 'pending') ->> 'password';\nROLLBACK;\n";
	}
	return split /\n/, sql($node, $sql, timeout => 600);
}

1;
