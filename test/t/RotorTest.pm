# What rotor's TAP tests share: a server with rotor, SQL with its error taken apart, logins over TCP, pg_hba.conf and
# settings that are in force when the call returns, and listeners that stand in for other servers.
#
# A generated password never reaches the output: functions that compare one return booleans, role_state() a digest.
package RotorTest;

use strict;
use warnings;
use Exporter 'import';
use IO::Select;
use IO::Socket::INET;
use File::Temp;
use IPC::Run ();
use POSIX ();
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time usleep);

our @EXPORT = qw(
  new_cluster set_hba set_conf sql attempt succeeds fails rotate_ok rotate_fails current_password password_of login logs_in
  is_locked_out role_state last_rotation health_of no_worker_is_left workers_are_there poll_until assert_invariants no_password_in hba_file
  what_psql_says was_refused build_module listener fake_server proxy stop_listener noted short_backoff
);

# Whoever runs the tests, the bootstrap superuser has this name.
$ENV{PGUSER} = 'postgres';
delete $ENV{$_} for qw(PGHOST PGPORT PGDATABASE PGPASSWORD PGSERVICE PGOPTIONS PGSSLMODE);
umask 077;

my $poll_seconds = $PostgreSQL::Test::Utils::timeout_default // 180;
my $generation   = 0;

#---------------------------------------------------------------------------------------------------------------------
# Servers

# new_cluster('name', preload => 1, hba => [lines], conf => 'text', extension => 0, start => 0, init => {...},
#   install_path => 'folder of another installation')
# before_init => sub { my ($node) = @_; ... } is run before there is a data directory.
# The superuser is let in by the socket (line 1); the default for all others is scram-sha-256 by 127.0.0.1 (line 2).
sub new_cluster
{
	my ($name, %options) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name, $options{install_path} ? (install_path => $options{install_path}) : ());
	my %init = %{ $options{init} // {} };

	$options{before_init}->($node) if $options{before_init};
	$node->init(extra => [ '-U', 'postgres', '--locale=C', '-E', 'UTF8', @{ $options{initdb} // [] } ], %init);
	$node->append_conf('postgresql.conf', <<'CONF');
listen_addresses = '127.0.0.1'
autovacuum = off
log_line_prefix = '%m [%p] %b %q%u@%d %a '
log_min_messages = log
CONF
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'rotor'\n") if $options{preload};
	$node->append_conf('postgresql.conf', $options{conf})                       if defined $options{conf};
	_write_hba($node, @{ $options{hba} // ['host all all 127.0.0.1/32 scram-sha-256'] });
	return $node if defined $options{start} && !$options{start};
	$node->start;
	sql($node, 'CREATE EXTENSION rotor') unless defined $options{extension} && !$options{extension};
	return $node;
}

sub _write_hba
{
	my ($node, @lines) = @_;
	my $file = hba_file($node);

	open my $handle, '>', $file or die "$file: $!";
	print $handle "$_\n" for 'local all postgres trust', @lines;
	close $handle or die "$file: $!";
}

sub hba_file
{
	my ($node) = @_;
	return $node->data_dir . '/pg_hba.conf';
}

# Replaces pg_hba.conf, but for line 1; in force on return. The first line given is line 2 of the file.
sub set_hba
{
	my ($node, @lines) = @_;

	_write_hba($node, @lines);
	set_conf($node);
}

# Appends settings to postgresql.conf and reloads: set_conf($node, 'name' => 'value', ...). In force on return: a session
# that starts now sees them, and so does every worker, which was sent the signal before.
sub set_conf
{
	my ($node, @settings) = @_;
	my $text = '';

	while (my ($name, $value) = splice(@settings, 0, 2))
	{
		$value =~ s/'/''/g;
		$text .= "$name = '$value'\n";
	}
	$generation++;
	$node->append_conf('postgresql.conf', "${text}rotortest.generation = $generation\n");
	$node->reload;
	poll_until(sub { sql($node, q{SELECT current_setting('rotortest.generation', true)}) eq $generation })
	  or die 'the server did not take up its new configuration';
}

#---------------------------------------------------------------------------------------------------------------------
# SQL

sub _conninfo_value
{
	my ($value) = @_;
	$value =~ s/([\\'])/\\$1/g;
	return "'$value'";
}

# Runs SQL as the superuser, or as told, and takes its outcome apart:
# {ok, out, err, sqlstate, message, detail, hint, notices}
sub attempt
{
	my ($node, $sql, %options) = @_;
	my ($out, $err) = ('', '');
	my @connection = ('host=' . ($options{host} // $node->host), 'port=' . ($options{port} // $node->port),
		'dbname=' . _conninfo_value($options{dbname} // 'postgres'));
	local %ENV = %ENV;

	push @connection, 'user=' . _conninfo_value($options{user}) if defined $options{user};
	push @connection, "sslmode=$options{sslmode}" if defined $options{sslmode};
	$ENV{PGPASSWORD} = $options{password} if defined $options{password};
	$ENV{PGCONNECT_TIMEOUT} = 30;
	# In a file: a psql that cannot connect ends without reading its input, and the pipe would break.
	my $file = File::Temp->new;
	binmode $file, ':utf8' if utf8::is_utf8($sql);
	print $file $sql;
	close $file;
	IPC::Run::run([ 'psql', '-XAtqw', '-v', 'VERBOSITY=verbose', '-v', 'ON_ERROR_STOP=1', '-d', "@connection", '-f', "$file" ],
		'<', \undef, '>', \$out, '2>', \$err, IPC::Run::timeout($options{timeout} // 120));

	my %result = (ok => $? == 0, out => $out, err => $err, what_psql_says($err));
	chomp $result{out};
	return \%result;
}

# A verbose error of psql's taken apart: (sqlstate, message, detail, hint, notices). The severity is in the server's language.
sub what_psql_says
{
	my ($err) = @_;
	my %said = (sqlstate => '', message => '');
	my $error = $err =~ /((?:ERROR|FATAL|FEHLER):.*)/s ? $1 : '';

	@said{qw(sqlstate message)} = ($1, $2) if $error =~ /^\w+:\s+([0-9A-Z]{5}): (.*)/;
	$said{detail} = $error =~ /^DETAIL:\s+(.*)$/m ? $1 : '';
	$said{hint}   = $error =~ /^HINT:\s+(.*)$/m   ? $1 : '';
	$said{notices} = join "\n", $err =~ /^(?:psql:\S+ )?(?:NOTICE|WARNING|HINWEIS|WARNUNG):\s+(?:[0-9A-Z]{5}: )?(.*)$/mg;
	return %said;
}

# Did psql not get in because of the password?
sub was_refused
{
	my ($err) = @_;
	return $err =~ /password authentication failed|Passwort-Authentifizierung .* fehlgeschlagen/ ? 1 : 0;
}

# The output of SQL that must go through.
sub sql
{
	my ($node, $sql, %options) = @_;
	my $result = attempt($node, $sql, %options);

	die "$sql\nfailed: $result->{err}" unless $result->{ok};
	return $result->{out};
}

sub succeeds
{
	my ($node, $sql, $name, %options) = @_;
	my $result = attempt($node, $sql, %options);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok($result->{ok}, $name) or diag $result->{err};
	return $result;
}

# SQL that must fail with this SQLSTATE, and text somewhere in message, detail or hint, each if given.
sub fails
{
	my ($node, $sql, $sqlstate, $pattern, $name, %options) = @_;
	my $result = attempt($node, $sql, %options);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is($result->{sqlstate}, $sqlstate, "$name: SQLSTATE $sqlstate") or diag $result->{err};
	like(join("\n", @{$result}{qw(message detail hint)}), $pattern, "$name: and it says so") if defined $pattern;
	return $result;
}

# rotor.rotate() that must end well; returns what fails() and succeeds() return.
sub rotate_ok
{
	my ($node, $secret, $name, %options) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $result = succeeds($node, "SELECT status FROM rotor.rotate('$secret')", $name, %options);
	is($result->{out}, 'success', "$name: status success");
	return $result;
}

sub rotate_fails
{
	my ($node, $secret, $sqlstate, $pattern, $name, %options) = @_;

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return fails($node, "SELECT status FROM rotor.rotate('$secret')", $sqlstate, $pattern, $name, %options);
}

# A column, or several separated by |, of the youngest rotation of a secret.
sub last_rotation
{
	my ($node, $secret, $columns) = @_;
	return sql($node, "SELECT $columns FROM rotor.rotations WHERE secret = '$secret' ORDER BY queued_at DESC LIMIT 1");
}

# The findings of health() with this name: "status detail", one a line.
sub health_of
{
	my ($node, $check, %options) = @_;
	return sql($node, "SELECT status || ' ' || detail FROM rotor.health() WHERE check_name = '$check'", %options);
}

# Makes retries follow at once; attempts stay few.
sub short_backoff
{
	my ($node, $policy) = @_;
	$policy //= 'default';
	sql($node, "UPDATE rotor.policy SET backoff = '1 ms', backoff_max = '1 ms' WHERE name = '$policy'");
}

# A one-shot worker does, after its answer to the caller, what else is due; waits until all of them have ended.
sub no_worker_is_left
{
	my ($node) = @_;

	poll_until(sub { sql($node, q{SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'rotor worker'}) eq '0' })
	  or die 'a worker does not end';
}

# A worker counts in health() once it has reached the database, a moment after the server says that it is up; then it rests.
sub workers_are_there
{
	my ($node, %options) = @_;

	poll_until(sub {
			my $result = attempt($node, q{SELECT count(*) = current_setting('rotor.workers')::int FROM pg_stat_activity WHERE backend_type = 'rotor worker' AND state = 'idle'}, %options);
			$result->{ok} && $result->{out} eq 't';
		}) or die 'the workers are not there';
}

sub poll_until
{
	my ($condition, $seconds) = @_;
	my $deadline = time + ($seconds // $poll_seconds);

	while (time < $deadline)
	{
		return 1 if $condition->();
		usleep(30_000);
	}
	return 0;
}

#---------------------------------------------------------------------------------------------------------------------
# Logins

sub password_of
{
	my ($node, $secret, $stage) = @_;
	return sql($node, "SELECT rotor.get_secret('$secret', '$stage') ->> 'password'");
}

sub current_password
{
	my ($node, $secret) = @_;
	return password_of($node, $secret, 'current');
}

# {ok, sqlstate or what libpq says} of a login over TCP, by 127.0.0.1 and to database postgres unless told otherwise.
# For a failed login the SQLSTATE is in the server's log only, so 'refused' says whether the password was.
sub login
{
	my ($node, $user, $password, %options) = @_;

	# What tests set for database or role is not to be in the way here.
	local $ENV{PGOPTIONS} = '-c role=none -c statement_timeout=0 -c idle_in_transaction_session_timeout=0'
	  . ' -c max_parallel_workers_per_gather=0';
	$ENV{PGOPTIONS} .= ' -c transaction_timeout=0' if $node->pg_version >= 17;
	my $result = attempt($node, 'SELECT current_user',
		host => '127.0.0.1', user => $user, password => $password, sslmode => 'disable', %options);

	$result->{ok} = 0 unless $result->{out} eq $user;
	$result->{refused} = was_refused($result->{err});
	return $result;
}

sub logs_in
{
	my ($node, $user, $password, $name, %options) = @_;
	my $result = login($node, $user, $password, %options);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok($result->{ok}, $name) || (diag($result->{err}), 0)[1];
}

sub is_locked_out
{
	my ($node, $user, $password, $name, %options) = @_;
	my $result = login($node, $user, $password, %options);

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	return ok(!$result->{ok} && $result->{refused}, $name) || (diag($result->{err}), 0)[1];
}

# A digest of verifier and VALID UNTIL: equal if and only if both are, byte for byte.
sub role_state
{
	my ($node, $role) = @_;
	return sql($node, <<"SQL");
SELECT encode(sha256(convert_to(format('%L %s', rolpassword, coalesce(rolvaliduntil::text, 'none')), 'UTF8')), 'hex')
FROM pg_authid WHERE rolname = '$role'
SQL
}

# What must hold of a secret whenever nothing is running: the version labelled current logs in (I1), the role has the
# verifier that rotor gave it, every rotation that is over has its audit row and has let go of the former verifier.
sub assert_invariants
{
	my ($node, $secret, $name, %options) = @_;
	my $role = sql($node, "SELECT username FROM rotor.secret WHERE name = '$secret' AND deleted_at IS NULL");

	subtest "$name: the invariants hold" => sub {
		logs_in($node, $role, current_password($node, $secret), 'I1: the version labelled current logs in', %options);
		is(sql($node, "SELECT in_sync FROM rotor.coverage WHERE secret = '$secret'"),
			't', 'the role has the verifier of the version labelled current');
		is( sql($node, <<'SQL'), '0', 'a rotation that is over keeps no former verifier, unless a human is to look at it');
SELECT count(*) FROM rotor.saved_verifier v JOIN rotor.rotation r ON r.id = v.rotation_id
WHERE r.status IN ('success', 'rolled_back', 'cancelled')
SQL
		is( sql($node, <<'SQL'), '0', 'I5: every rotation that is over has an audit row that says so');
SELECT count(*) FROM rotor.rotation r WHERE r.finished_at IS NOT NULL
    AND NOT EXISTS (SELECT FROM rotor.audit a WHERE a.rotation = r.id)
SQL
		is(sql($node, q{SELECT count(*) FROM rotor.rotation WHERE (finished_at IS NULL) <> (status IN ('pending', 'in_progress', 'verifying'))}),
			'0', 'a rotation has an end exactly if its status is a final one');
	};
}

# None of the passwords, the keys of a hash that is not empty, stands in any of the files.
sub no_password_in
{
	my ($passwords, @files) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;

	cmp_ok(scalar keys %$passwords, '>', 0, 'given passwords to look for');
	for my $file (@files)
	{
		my $text = slurp_file($file);
		is(scalar(grep { index($text, $_) >= 0 } keys %$passwords), 0, 'no password in ' . ($file =~ s{.*/(?=[^/]+/)}{}r));
	}
}

#---------------------------------------------------------------------------------------------------------------------
# Modules written for tests: test/modules/NAME/NAME.c, built where the tests run. Returns the path to preload.

sub build_module
{
	my ($name) = @_;
	my $config = $ENV{PG_CONFIG} // 'pg_config';
	my $source = ($ENV{ROTOR_TOP} // '..') . "/test/modules/$name/$name.c";
	my $folder = PostgreSQL::Test::Utils::tempdir("module_$name");
	my %say    = map { chomp(my $value = `$config --$_`); ($_ => $value) } qw(cc includedir-server);
	my $output = '';

	chmod 0755, $folder;
	IPC::Run::run([ split(' ', $say{cc}), qw(-O1 -fPIC -shared -Wall), "-I$say{'includedir-server'}", '-o', "$folder/$name.so", $source ],
		'>&', \$output)
	  or die "could not build $source:\n$output";
	return "$folder/$name.so";
}

#---------------------------------------------------------------------------------------------------------------------
# Listeners: processes on a free port of 127.0.0.1 that stand where a server is expected. Each notes what happens to it,
# one word a line, never a password.

# listener(sub { my ($socket, $note) = @_; ... }): one connection after the other.
sub listener
{
	my ($serve) = @_;
	my $socket = IO::Socket::INET->new(LocalAddr => '127.0.0.1', Listen => 10, Proto => 'tcp') or die "listen: $!";
	my $file   = PostgreSQL::Test::Utils::tempdir('listener') . '/notes';
	my $parent = $$;

	append_to_file($file, '');
	my $pid = fork() // die "fork: $!";
	if ($pid == 0)
	{
		# Nothing of the test's own end may run here.
		local $SIG{__DIE__} = sub { };
		eval {
			$SIG{PIPE} = 'IGNORE';
			$SIG{TERM} = $SIG{INT} = sub { POSIX::_exit(0) };
			my $ready = IO::Select->new($socket);
			while (getppid() == $parent)
			{
				next unless $ready->can_read(0.5);
				my $client = $socket->accept or next;
				my $note = sub {
					open my $handle, '>>', $file or die;
					print $handle "$_[0]\n";
					close $handle;
				};
				$note->('connection');
				eval { $serve->($client, $note) };
				close $client;
			}
		};
		POSIX::_exit(0);
	}
	my $port = $socket->sockport;
	close $socket;
	return { port => $port, pid => $pid, notes => $file };
}

sub stop_listener
{
	my ($listener) = @_;
	kill 'TERM', $listener->{pid};
	waitpid $listener->{pid}, 0;
}

# How often a listener has noted a word.
sub noted
{
	my ($listener, $word) = @_;
	return scalar grep { $_ eq $word } split /\n/, slurp_file($listener->{notes});
}

sub _read_exactly
{
	my ($socket, $length) = @_;
	my $data = '';

	while (length $data < $length)
	{
		sysread($socket, $data, $length - length $data, length $data) or die "end of file\n";
	}
	return $data;
}

# Reads a startup packet, refusing encryption.
sub _read_startup
{
	my ($socket) = @_;

	for (;;)
	{
		my $length = unpack 'N', _read_exactly($socket, 4);
		my $body = _read_exactly($socket, $length - 4);
		my $code = unpack 'N', $body;

		return $body if $code != 80877103 && $code != 80877104;
		syswrite $socket, 'N';
	}
}

sub _message
{
	my ($type, $body) = @_;
	return $type . pack('N', 4 + length $body) . $body;
}

# A server that is not PostgreSQL's: fake_server(ask => 1, error => '28P01') asks for the password in clear or not, then
# refuses with an SQLSTATE, lets in as a backend of some pid (accept => pid), hangs (hang => 1), or ends (the default).
# It notes 'connection', then 'password' if one was sent to it; first => sub is called before it answers.
sub fake_server
{
	my (%how) = @_;

	return listener(
		sub {
			my ($socket, $note) = @_;

			_read_startup($socket);
			$how{first}->() if $how{first};
			if ($how{ask})
			{
				syswrite $socket, _message('R', pack 'N', 3);
				my ($type, $length) = unpack 'a N', _read_exactly($socket, 5);
				_read_exactly($socket, $length - 4);
				$note->('password') if $type eq 'p';
			}
			if ($how{error})
			{
				syswrite $socket, _message('E', "SFATAL\0VFATAL\0C$how{error}\0Mmade up for a test\0\0");
			}
			elsif (exists $how{accept})
			{
				syswrite $socket,
				    _message('R', pack 'N', 0)
				  . _message('S', "server_version\0" . "15.0\0")
				  . _message('K', pack 'NN', $how{accept}, 1)
				  . _message('Z', 'I');
				_read_exactly($socket, 1);
			}
			elsif ($how{hang})
			{
				_read_exactly($socket, 1);
			}
		});
}

# Passes everything on to the server, after calling a function: what happens between set and the login.
sub proxy
{
	my ($node, $first) = @_;
	my $port = $node->port;

	return listener(
		sub {
			my ($client, $note) = @_;

			$first->($note) if $first;
			my $server = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $port) or die "connect: $!\n";
			my %other  = ($client => $server, $server => $client);
			my $ready  = IO::Select->new($client, $server);

			for (;;)
			{
				for my $from ($ready->can_read(0.5))
				{
					my $n = sysread $from, my $data, 65536;
					return unless $n;
					syswrite $other{$from}, $data;
				}
			}
		});
}

1;
