# What the tests of dump, restore and clone share: pg_dump, pg_dumpall and pg_restore of a server, what is in a dump, roles with
# chosen oids, and a description of all that rotor knows.
package RotorDump;

use strict;
use warnings;
use Exporter 'import';
use IPC::Run ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use RotorTest;
use Test::More;

our @EXPORT = qw(
  home_cluster quote_name password_at dump_of try_dump text_of count_in globals_of run_sql_file restore_archive make_role_with_oid facts
);

my $folder;

# Made by the first who needs it: whoever only reads this file leaves nothing behind.
sub in_folder
{
	my ($name) = @_;
	$folder //= PostgreSQL::Test::Utils::tempdir('dumps');
	return "$folder/$name";
}

# A server with a database home for rotor, without the extension. Everybody is let in by the socket; role dead has no login
# that would prove anything.
sub home_cluster
{
	my ($name, $key_file, %options) = @_;
	my $node = new_cluster($name, preload => 1, extension => 0, init => { allows_streaming => 'logical' },
		hba => [ 'local all all trust', 'host all dead 127.0.0.1/32 trust', 'host all all 127.0.0.1/32 scram-sha-256' ],
		conf => "rotor.database = 'home'\nrotor.key_file = '$key_file'\nrotor.maintenance_interval = 0\nrotor.lock_timeout = '200ms'\n",
		%options);

	sql($node, 'CREATE DATABASE home');
	return $node;
}

sub quote_name
{
	my ($name) = @_;
	return '"' . $name =~ s/"/""/gr . '"';
}

# The current password of a secret, by a superuser.
sub password_at
{
	my ($node, $secret, %options) = @_;
	my $quoted = $secret =~ s/'/''/gr;
	return sql($node, "SELECT rotor.get_secret('$quoted') ->> 'password'", %options);
}

# Runs a program of PostgreSQL's against a server: {ok, out, err}.
sub run_program
{
	my ($node, $program, $args, %options) = @_;
	my ($out, $err) = ('', '');
	local %ENV = %ENV;

	$ENV{PGHOST} = $node->host;
	$ENV{PGPORT} = $node->port;
	$ENV{PGOPTIONS} = $options{pgoptions} if defined $options{pgoptions};
	$ENV{PGUSER}    = $options{user}      if defined $options{user};
	IPC::Run::run([ $program, @$args ], '<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout(300));
	return { ok => $? == 0, out => $out, err => $err };
}

# pg_dump of database home: {ok, err, path}. Options: args => [...], values => rotor.dump_values, user, dbname
sub try_dump
{
	my ($node, $name, %options) = @_;
	my $path = in_folder($name);
	my $result = run_program($node, 'pg_dump', [ '-d', $options{dbname} // 'home', '-f', $path, @{ $options{args} // [] } ],
		user => $options{user}, pgoptions => defined $options{values} ? "-c rotor.dump_values=$options{values}" : undef);

	return { %$result, path => $path };
}

# The same that must go through; returns the path.
sub dump_of
{
	my ($node, $name, %options) = @_;
	my $result = try_dump($node, $name, %options);

	die "pg_dump $name: $result->{err}" unless $result->{ok};
	return $result->{path};
}

sub globals_of
{
	my ($node) = @_;
	my $path = in_folder('globals');
	my $result = run_program($node, 'pg_dumpall', [ '-g', '-f', $path ]);

	die "pg_dumpall: $result->{err}" unless $result->{ok};
	return $path;
}

# A dump of any format as text.
sub text_of
{
	my ($path) = @_;
	my ($out, $err) = ('', '');

	return slurp_file($path) if -f $path && slurp_file($path) =~ /^--/;
	IPC::Run::run([ 'pg_restore', '-f', '-', $path ], '>', \$out, '2>', \$err) or die "pg_restore -f -: $err";
	return $out;
}

# How many of these strings are somewhere in a text; what they are is not to be printed.
sub count_in
{
	my ($text, @strings) = @_;
	return scalar grep { index($text, $_) >= 0 } @strings;
}

# Runs a script as pg_dump's manual says, going on after errors; returns them.
sub run_sql_file
{
	my ($node, $dbname, $path) = @_;
	my $result = run_program($node, 'psql', [ '-X', '-q', '-d', $dbname, '-f', $path ]);

	return [ $result->{err} =~ /^psql:[^\n]*?((?:ERROR|FATAL|WARNING): [^\n]*)$/mg ];
}

sub restore_archive
{
	my ($node, $dbname, $path, @args) = @_;
	my $result = run_program($node, 'pg_restore', [ '-d', $dbname, @args, $path ]);

	# An entry of several commands is sent as one: what is said of the others is not an error.
	return [ grep { !/^pg_restore: warning: errors ignored/ } $result->{err} =~ /^(pg_restore: (?:error|warning): .*)$/mg ];
}

# Makes a role with that oid, which must be free and above all that were given out so far.
sub make_role_with_oid
{
	my ($node, $name, $oid) = @_;

	sql($node, <<"SQL");
DO \$\$
DECLARE given oid;
BEGIN
    LOOP
        given := lo_create(0);
        PERFORM lo_unlink(given);
        EXIT WHEN given >= $oid - 1;
    END LOOP;
    IF given <> $oid - 1 THEN
        RAISE 'oid % has passed', $oid - 1;
    END IF;
    CREATE ROLE $name LOGIN;
END
\$\$
SQL
}

# All that rotor knows and a dump can carry, by kind.
sub facts
{
	my ($node, %options) = @_;
	my %query = (
		policies  => q{SELECT string_agg(p::text, E'\n' ORDER BY name) FROM rotor.policy p},
		target    => q{SELECT string_agg(t::text, E'\n') FROM rotor.target t},
		secrets   => q{SELECT string_agg(format('%s %L %L %s %s %s %s', id, name, username, policy, enabled, created_at, deleted_at), E'\n' ORDER BY id) FROM rotor.secret},
		rights    => q{SELECT string_agg((g.*)::text, E'\n' ORDER BY secret_id, role_oid, privilege) FROM rotor.access_grant g},
		versions  => q{SELECT string_agg(md5(v::text), E'\n' ORDER BY id) FROM rotor.version v},
		data_keys => q{SELECT string_agg(md5(k::text), E'\n' ORDER BY id) FROM rotor.data_key k},
		saved     => q{SELECT string_agg(md5(s::text), E'\n' ORDER BY rotation_id) FROM rotor.saved_verifier s},
		rotations => q{SELECT string_agg(format('%s %s %s %s %s', id, secret_id, step, status, attempt), E'\n' ORDER BY id) FROM rotor.rotation},
		last_id   => q{SELECT last_value FROM rotor.secret_id_seq});

	return map { ($_ => sql($node, $query{$_}, %options)) } sort keys %query;
}

1;
