#!/usr/bin/perl
#
# The SQL in src/*.c and sql/*.sql: every relation is named with its schema, rotor or pg_catalog, so that no search_path can put another
# one in its place. (Functions, types and operators are pg_catalog's, because access_enter() and the workers pin
# search_path = pg_catalog, pg_temp.) A name that WITH has made in the same statement is as good.
#
# Strings that C joins are read as one. Keywords are in capitals, as all of ours are: a message is no SQL.

use strict;
use warnings;

my $failed = 0;
my $seen   = 0;

# The texts of a file, each with the line it begins in: joined strings, with a macro between them as a blank.
sub texts
{
    my ($source) = @_;
    my ($text, $start, @texts);
    my $line = 1;

    while ($source =~ /\G(?:(\s+)|(\/\*.*?\*\/)|"((?:[^"\\]|\\.)*)"|([A-Z][A-Z0-9_]*)|('(?:[^'\\]|\\.)+')|(.))/gs)
    {
        my ($blank, $comment, $string, $macro) = ($1, $2, $3, $4);
        my $length = $+[0] - $-[0];
        my $here   = $line;

        $line += (substr($source, $-[0], $length) =~ tr/\n//);
        next if defined $blank || defined $comment;
        if (defined $string)
        {
            $start = $here unless defined $text;
            $text .= $string;
        }
        elsif (defined $macro && defined $text)
        {
            $text .= ' ';
        }
        elsif (defined $text)
        {
            push @texts, [ $start, $text ];
            undef $text;
        }
    }
    return @texts;
}

# Complains of each relation in text, which begins in that line, that is named without its schema.
sub check
{
    my ($file, $line, $text) = @_;
    my %made = map { $_ => 1 } $text =~ /(?:\bWITH |, )(\w+) AS (?:MATERIALIZED )?\(/g;

    # FROM that is no clause, UPDATE that names nothing
    $text =~ s/\b(?:extract|substring|trim)\s*\([^()]*?\bFROM\b//g;
    $text =~ s/\bDISTINCT FROM\b|\bFOR (?:NO KEY )?UPDATE\b|\b(?:DO|ON|OR|BEFORE) UPDATE\b|\bFOR VALUES FROM\b//g;
    while ($text =~ /\b(FROM|JOIN|INTO|UPDATE|USING|TABLE|VIEW|REFERENCES)\s+(?:ONLY\s+|LATERAL\s+)?([a-z_][\w.]*)(\s*\()?/g)
    {
        my ($keyword, $name, $call) = ($1, $2, $3);

        $seen++;
        next if $name =~ /^(?:rotor|pg_catalog)\./ || $made{$name} || (defined $call && $keyword =~ /FROM|JOIN/);
        my $lines = $line + (substr($text, 0, $-[0]) =~ tr/\n//);
        print "$file:$lines: $keyword $name: without its schema\n";
        $failed = 1;
    }
}

sub content
{
    my ($file) = @_;

    open(my $handle, '<', $file) or die "$file: $!\n";
    local $/ = undef;
    return scalar <$handle>;
}

for my $file (sort glob 'src/*.c')
{
    for (texts(content($file)))
    {
        my ($line, $text) = @$_;
        check($file, $line, $text) unless $text =~ /^[A-Z][a-z]/;    # a sentence
    }
}
for my $file (sort glob 'sql/*.sql')
{
    my $text = content($file);

    $text =~ s/--.*//g;
    check($file, 1, $text =~ s/^COMMENT ON .*?IS\s+'.*?';$/"\n" x ($& =~ tr,\n,,)/gemsr);
}

die "check-schema-names.pl: no SQL was found\n" unless $seen;
exit $failed;
