# What pg_hba.conf asks for decides whether a login can prove a password. A password is proved only by a login for which
# the server itself asked for it; anything else is refused before the role is touched, naming the line.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use RotorTest;
use Test::More;

my $node = new_cluster('hba', preload => 1, conf => "rotor.connect_timeout = '10s'\nlog_connections = on\n");
my $file = hba_file($node);

sql($node, 'CREATE ROLE app_user LOGIN; CREATE ROLE verified LOGIN; CREATE ROLE bystander LOGIN');
sql($node, 'CREATE ROLE app_group; CREATE ROLE outer_group; GRANT outer_group TO app_group; GRANT app_group TO app_user');
sql($node, 'CREATE DATABASE app_user');
sql($node, q{INSERT INTO rotor.policy (name, verification) VALUES ('verifier', 'verifier')});
sql($node, q{SELECT rotor.manage('verified', policy => 'verifier')});
short_backoff($node);
short_backoff($node, 'verifier');
rotate_ok($node, 'app_user', 'before anything');
rotate_ok($node, 'verified', 'before anything, verified');

#---------------------------------------------------------------------------------------------------------------------
# Lines by which a login proves the password

# Each change of the file is in force when set_hba() returns.
sub proves
{
	my ($name, @lines) = @_;
	my $old = current_password($node, 'app_user');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	set_hba($node, @lines);
	rotate_ok($node, 'app_user', $name);
	is(last_rotation($node, 'app_user', q{coalesce(note, 'none')}), 'none', "$name: without reservation");
	unlike(health_of($node, 'pg_hba'), qr/"app_user"/, "$name: health() has nothing to say about it");
	ok($old ne current_password($node, 'app_user'), "$name: the password is another");
}

for my $method (qw(scram-sha-256 md5 password))
{
	proves("$method", "host all all 127.0.0.1/32 $method");
	logs_in($node, 'app_user', current_password($node, 'app_user'), "$method: the new password logs in");
}
proves('samehost', 'host all all samehost scram-sha-256');
proves('address all', 'host all all all scram-sha-256');
proves('host name localhost', 'host all all localhost scram-sha-256');
proves('address with a netmask', 'host all all 127.0.0.0 255.0.0.0 scram-sha-256');
proves('lines for other addresses, databases, users and replication come first',
	'host all all 10.0.0.0/8 trust',
	'host template1 all 127.0.0.1/32 trust',
	'host all bystander 127.0.0.1/32 trust',
	'host replication all 127.0.0.1/32 trust',
	'hostssl all all 127.0.0.1/32 trust',
	'host sameuser all 127.0.0.1/32 trust',
	'host all +bystander 127.0.0.1/32 trust',
	'host all all 127.0.0.1/32 scram-sha-256');
proves('members of a group', 'host all +app_group 127.0.0.1/32 scram-sha-256', 'host all all 127.0.0.1/32 trust');
proves('members of a group of the group', 'host all +outer_group 127.0.0.1/32 scram-sha-256', 'host all all 127.0.0.1/32 trust');
proves('the socket, where loopback proves nothing', 'local all app_user scram-sha-256', 'local all all trust', 'host all all 127.0.0.1/32 trust');
sql($node, q{UPDATE rotor.policy SET verify_database = 'app_user' WHERE name = 'default'});
proves('sameuser, with verify_database', 'host sameuser all 127.0.0.1/32 scram-sha-256', 'host all all 127.0.0.1/32 trust');
proves('samerole does not fit a database that is no role of the user', 'host samerole bystander all trust', 'host app_user app_user all md5');
sql($node, q{UPDATE rotor.policy SET verify_database = NULL WHERE name = 'default'});
set_hba($node, 'host all all 127.0.0.1/32 scram-sha-256');
assert_invariants($node, 'app_user', 'after every line that proves');

#---------------------------------------------------------------------------------------------------------------------
# Lines by which it cannot

# The line that is to be named is line $line of the file.
sub proves_nothing
{
	my ($name, $line, $method, @lines) = @_;
	my $old   = current_password($node, 'app_user');
	my $state = role_state($node, 'app_user');

	local $Test::Builder::Level = $Test::Builder::Level + 1;
	set_hba($node, @lines);
	rotate_fails($node, 'app_user', '55000', qr/\b[Ll]ine $line of "\Q$file\E" \(\Q$method\E\)/,
		"$name: refused, naming line and file");
	is(role_state($node, 'app_user'), $state, "$name: verifier and VALID UNTIL are what they were, byte for byte");
	ok($old eq current_password($node, 'app_user'), "$name: get_secret() still gives the old password");
	is(last_rotation($node, 'app_user', q{status, (SELECT count(*) FROM rotor.audit a WHERE a.rotation = rotations.id AND a.event = 'password_set')}),
		'failed|0', "$name: the rotation has failed, and the role was not touched at any time");
	like(health_of($node, 'pg_hba'), qr/^error secret "app_user", role "app_user": Line $line of /m,
		"$name: health() names the line");

	my $before = current_password($node, 'verified');
	rotate_ok($node, 'verified', "$name, verification = 'verifier'");
	like(last_rotation($node, 'verified', 'note'), qr/checked in process/, "$name: a note says that no login proved it");
	ok($before ne current_password($node, 'verified'), "$name: the password of that one is another");
	like(health_of($node, 'pg_hba'), qr/^warning secret "verified", role "verified": Line $line of /m,
		"$name: health() warns of it all the same");
}

proves_nothing('trust', 2, 'trust', 'host all all 127.0.0.1/32 trust', 'local all all trust');
proves_nothing('trust behind lines that do not fit', 4, 'trust',
	'host all bystander 127.0.0.1/32 scram-sha-256',
	'host template1 all 127.0.0.1/32 scram-sha-256',
	'host all all 127.0.0.1/32 trust');
proves_nothing('trust for a group', 2, 'trust', 'host all +app_group,verified 127.0.0.1/32 trust', 'host all all 127.0.0.1/32 scram-sha-256');
proves_nothing('reject', 2, 'reject', 'host all all 127.0.0.1/32 reject');
proves_nothing('ident', 2, 'ident', 'host all all 127.0.0.1/32 ident');

# Whoever listens where the LDAP server should be hears nothing.
my $ldap = listener(sub { });
proves_nothing('ldap', 2, 'ldap',
	"host all all 127.0.0.1/32 ldap ldapserver=127.0.0.1 ldapport=$ldap->{port} ldapprefix=\"cn=\" ldapsuffix=\"\"");
is(noted($ldap, 'connection'), 0, 'ldap: the password was not sent to the LDAP server, with either policy');
stop_listener($ldap);

set_hba($node, 'host all all 10.0.0.0/8 scram-sha-256');
my $state = role_state($node, 'app_user');
rotate_fails($node, 'app_user', '55000', qr/no line of "\Q$file\E"/i, 'no line for the role: refused, naming the file');
is(role_state($node, 'app_user'), $state, 'no line for the role: it is as it was');
like(health_of($node, 'pg_hba'), qr/^error .*no line of/mi, 'no line for the role: health() says so');

set_hba($node, 'host all all 127.0.0.1/32 scram-sha-256');
assert_invariants($node, 'app_user', 'after every line that proves nothing');
assert_invariants($node, 'verified', 'after checks in process');
rotate_ok($node, 'app_user', 'and with a good line again');

# The server goes on with the rules it has loaded; a file that nobody has loaded yet misleads nobody into a lock-out.
append_to_file($file, "host all all nonsense nonsense nonsense\n");
$node->reload;
rotate_ok($node, 'app_user', 'a file with an error, which the server has not taken up');
assert_invariants($node, 'app_user', 'a file with an error');

# trust that the server has loaded, and a file that says otherwise: the login itself tells.
set_hba($node, 'host all all 127.0.0.1/32 trust');
{
	my $text = slurp_file($file);
	$text =~ s/(127.0.0.1\/32) trust/$1 scram-sha-256/;
	open my $handle, '>', $file or die;
	print $handle $text;
	close $handle;
}
my $old = current_password($node, 'app_user');
$state = role_state($node, 'app_user');
rotate_fails($node, 'app_user', '55000', undef, 'the file says scram-sha-256, but the server still trusts: not proved');
is(role_state($node, 'app_user'), $state, 'the role has its former verifier and VALID UNTIL');
ok($old eq current_password($node, 'app_user'), 'and the labels stand as before');

#---------------------------------------------------------------------------------------------------------------------
# Only the socket

set_hba($node, 'local all app_user scram-sha-256', 'local all verified scram-sha-256');
$node->append_conf('postgresql.conf', "listen_addresses = ''\n");
$node->restart;
rotate_ok($node, 'app_user', q{listen_addresses = '' and scram-sha-256 for the socket});
logs_in($node, 'app_user', current_password($node, 'app_user'), 'the new password logs in by the socket', host => $node->host);
proves_nothing('peer', 2, 'peer', 'local all all peer', 'host all all 127.0.0.1/32 scram-sha-256');
proves_nothing('trust by the socket', 2, 'trust', 'local all all trust');
set_hba($node, 'local all all md5');
rotate_ok($node, 'app_user', 'md5 for the socket');
assert_invariants($node, 'app_user', 'only the socket', host => $node->host);

#---------------------------------------------------------------------------------------------------------------------
# TLS

{
	my $folder = $node->data_dir;
	my $log    = '';
	my @openssl = (qw(openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext),
		'subjectAltName=DNS:localhost,IP:127.0.0.1', '-keyout', "$folder/server.key", '-out', "$folder/server.crt");
	IPC::Run::run(\@openssl, '>&', \$log) or die $log;
	chmod 0600, "$folder/server.key";
}
$node->append_conf('postgresql.conf', "listen_addresses = '127.0.0.1'\nssl = on\nssl_ca_file = 'server.crt'\n");
$node->restart;
is(sql($node, 'SHOW ssl'), 'on', 'the server offers TLS');

proves('hostssl only', 'hostssl all all 127.0.0.1/32 scram-sha-256');
like(slurp_file($node->logfile), qr/user=app_user database=postgres application_name=rotor verification SSL (?:enabled|an) /, 'hostssl only: the login was made with TLS');
logs_in($node, 'app_user', current_password($node, 'app_user'), 'hostssl only: the new password logs in', sslmode => 'require');
proves('hostnossl only', 'hostnossl all all 127.0.0.1/32 scram-sha-256', 'hostssl all all 127.0.0.1/32 trust');
proves('hostssl where the other proves nothing', 'hostnossl all all 127.0.0.1/32 trust', 'hostssl all all 127.0.0.1/32 scram-sha-256');
set_conf($node, 'rotor.verify_host' => 'localhost', 'rotor.verify_sslmode' => 'verify-full');
proves('rotor.verify_sslmode = verify-full', 'hostssl all all 127.0.0.1/32 scram-sha-256');
set_conf($node, 'rotor.verify_host' => '127.0.0.1', 'rotor.verify_sslmode' => 'disable');
proves('rotor.verify_sslmode = disable', 'hostssl all all 127.0.0.1/32 trust', 'hostnossl all all 127.0.0.1/32 scram-sha-256');
set_conf($node, 'rotor.verify_host' => '', 'rotor.verify_sslmode' => 'auto');

proves_nothing('cert', 2, 'cert', 'hostssl all all 127.0.0.1/32 cert');
proves_nothing('a password with a client certificate', 2, 'scram-sha-256', 'hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=verify-ca');
proves_nothing('trust with TLS', 2, 'trust', 'hostssl all all 127.0.0.1/32 trust');
proves_nothing('hostssl reject first', 3, 'trust', 'hostssl all all 127.0.0.1/32 reject', 'host all all 127.0.0.1/32 trust');

set_hba($node, 'host all all 127.0.0.1/32 scram-sha-256');
assert_invariants($node, 'app_user', 'at the end');
assert_invariants($node, 'verified', 'at the end');
$node->stop;

done_testing();
