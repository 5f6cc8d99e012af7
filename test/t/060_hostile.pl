# Whatever a database, a role, an environment or an owner of something else has set up: it steers neither what rotor does
# as a superuser nor where a password goes.
use strict;
use warnings;
use IPC::Run ();
use PostgreSQL::Test::Utils;
use RotorTest;
use Test::More;
use utf8;

# Sessions of the test itself see nothing of what is set for database or role.
my $own_options = '-c search_path=pg_catalog -c role=none -c statement_timeout=0 -c lock_timeout=0 -c transform_null_equals=off'
  . ' -c default_transaction_read_only=off -c idle_in_transaction_session_timeout=0 -c standard_conforming_strings=on'
  . ' -c session_replication_role=origin -c max_parallel_workers_per_gather=0 -c DateStyle=ISO -c default_transaction_isolation=read\ committed';
$ENV{PGOPTIONS} = $own_options;

# Everything that a careless query would find first, and that leaves a trace when it is run.
my $shadows = <<'SQL';
CREATE SCHEMA hostile;
CREATE TABLE public.traces (what text, who text);
GRANT ALL ON public.traces TO PUBLIC;
GRANT USAGE ON SCHEMA hostile TO PUBLIC;
CREATE FUNCTION public.trace(what text) RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN INSERT INTO public.traces VALUES (what, session_user || ' as ' || current_user); RETURN 1; EXCEPTION WHEN read_only_sql_transaction THEN RETURN 1; END$$;
DO $do$
DECLARE
	f record;
	t text;
BEGIN
	-- Functions that rotor's own queries call, with the same arguments.
	FOR f IN SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS arguments, format_type(p.prorettype, NULL) AS result
		FROM pg_proc p
		WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset AND p.provariadic = 0
			AND p.proname IN ('now', 'clock_timestamp', 'length', 'sha256', 'convert_to', 'current_database', 'current_setting',
				'quote_literal', 'quote_ident', 'pg_backend_pid', 'pg_terminate_backend', 'left', 'right', 'encode', 'substring', 'round',
				'gen_random_uuid', 'pg_get_userbyid', 'set_config', 'lower', 'upper', 'jsonb_array_length')
			AND NOT (p.proargtypes::oid[] && ARRAY[2276, 2281]::oid[])
	LOOP
		EXECUTE format('CREATE FUNCTION hostile.%I(%s) RETURNS %s LANGUAGE plpgsql AS $$BEGIN PERFORM public.trace(%L); RETURN NULL; END$$',
			f.proname, f.arguments, f.result, f.proname);
	END LOOP;
	-- Operators.
	FOREACH t IN ARRAY ARRAY['text', 'oid', 'uuid', 'int8', 'int4', 'bool', 'name', 'timestamptz', 'bytea']
	LOOP
		EXECUTE format('CREATE FUNCTION hostile.is_equal(%1$s, %1$s) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM public.trace(%2$L); RETURN false; END$$', t, '=' || t);
		EXECUTE format('CREATE OPERATOR hostile.= (LEFTARG = %1$s, RIGHTARG = %1$s, FUNCTION = hostile.is_equal)', t);
		EXECUTE format('CREATE OPERATOR hostile.<> (LEFTARG = %1$s, RIGHTARG = %1$s, FUNCTION = hostile.is_equal)', t);
		EXECUTE format('CREATE OPERATOR hostile.< (LEFTARG = %1$s, RIGHTARG = %1$s, FUNCTION = hostile.is_equal)', t);
		EXECUTE format('CREATE OPERATOR hostile.<= (LEFTARG = %1$s, RIGHTARG = %1$s, FUNCTION = hostile.is_equal)', t);
	END LOOP;
	-- Relations.
	FOREACH t IN ARRAY ARRAY['pg_authid', 'pg_roles', 'pg_extension', 'pg_depend', 'pg_class', 'pg_stat_activity', 'pg_locks', 'pg_hba_file_rules',
		'pg_database', 'pg_namespace', 'rotation', 'secret', 'version', 'policy', 'data_key', 'audit', 'upcoming', 'coverage']
	LOOP
		EXECUTE format('CREATE VIEW hostile.%I AS SELECT public.trace(%L)', t, t);
	END LOOP;
END$do$;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA hostile TO PUBLIC;
SQL

sub untouched
{
	my ($node, $name, %options) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	is(sql($node, 'SELECT string_agg(DISTINCT what || $$ by $$ || who, $$, $$) FROM public.traces', %options), '', "$name: nothing of what shadows was run");
}

my @settings = (
	[ search_path                         => 'hostile, pg_catalog' ],
	[ role                                => 'nobody' ],
	[ default_transaction_read_only       => 'on' ],
	[ default_transaction_isolation       => 'serializable' ],
	[ default_transaction_deferrable      => 'on' ],
	[ statement_timeout                   => '1' ],
	[ lock_timeout                        => '1' ],
	[ idle_in_transaction_session_timeout => '1' ],
	[ session_replication_role            => 'replica' ],
	[ password_encryption                 => 'md5' ],
	[ row_security                        => 'off' ],
	[ synchronous_commit                  => 'off' ],
	[ TimeZone                            => q{'Asia/Kathmandu'} ],
	[ DateStyle                           => 'German, DMY' ],
	[ IntervalStyle                       => 'sql_standard' ],
	[ bytea_output                        => 'escape' ],
	[ standard_conforming_strings         => 'off' ],
	[ quote_all_identifiers               => 'on' ],
	[ transform_null_equals               => 'on' ],
	[ array_nulls                         => 'off' ],
	[ extra_float_digits                  => '-15' ],
	[ default_table_access_method         => 'heap' ],
	[ work_mem                            => q{'64kB'} ],
	[ enable_indexscan                    => 'off' ],
	[ enable_seqscan                      => 'off' ],
	[ plan_cache_mode                     => 'force_generic_plan' ],
	[ track_activities                    => 'off' ],
	[ application_name                    => q{'rotor worker'} ],
	[ check_function_bodies               => 'off' ],
	[ log_statement                       => q{'all'} ],
	[ debug_print_parse                   => 'on' ],
	[ max_stack_depth                     => q{'100kB'} ],
	[ client_encoding                     => 'LATIN1' ],

	# of some versions only
	[ force_parallel_mode                 => 'on' ],
	[ debug_parallel_query                => 'on' ],
	[ transaction_timeout                 => '1' ],
	[ event_triggers                      => 'off' ],
	[ restrict_nonsystem_relation_kind    => q{'view'} ],
);

#---------------------------------------------------------------------------------------------------------------------
# Settings of database and role, one by one with one-shot workers, then all at once with those that stay

{
	my $node = new_cluster('settings', conf => "rotor.connect_timeout = '10s'\n");

	sql($node, 'CREATE ROLE app_user LOGIN; CREATE ROLE nobody; CREATE ROLE delegate LOGIN CREATEROLE');
	sql($node, $shadows);
	rotate_ok($node, 'app_user', 'before anything');
	sql($node, q{UPDATE rotor.policy SET verify_query = 'SELECT 1', rotation_interval = '1 day', valid_until_margin = '1 day' WHERE name = 'default'});

	my %known = map { lc($_) => 1 } split /\n/, sql($node, 'SELECT name FROM pg_settings');
	@settings = grep { $known{ lc $_->[0] } } @settings;
	$ENV{PGOPTIONS} .= ' -c transaction_timeout=0' if $known{transaction_timeout};
	$ENV{PGOPTIONS} .= ' -c restrict_nonsystem_relation_kind=' if $known{restrict_nonsystem_relation_kind};

	for my $setting (@settings)
	{
		my ($name, $value) = @$setting;

		sql($node, "ALTER DATABASE postgres SET $name = $value");
		my $result = attempt($node, q{SELECT status FROM rotor.rotate('app_user')});
		is($result->{out} || $result->{err}, 'success', "ALTER DATABASE SET $name = $value: rotation succeeds");
		sql($node, "ALTER DATABASE postgres RESET $name");
	}
	is(sql($node, q{SELECT count(*) FROM rotor.rotations WHERE status <> 'success' OR note IS NOT NULL OR error_code IS NOT NULL}),
		'0', 'none of them had a reservation or an error');
	untouched($node, 'one by one');
	assert_invariants($node, 'app_user', 'settings of the database, one by one');

	for my $of ('DATABASE postgres', 'ROLE postgres', 'ROLE ALL', 'ROLE postgres IN DATABASE postgres', 'ROLE app_user')
	{
		sql($node, join ';', map { "ALTER $of SET $_->[0] = $_->[1]" } @settings);
		my $result = attempt($node, q{SELECT status FROM rotor.rotate('app_user')});
		is($result->{out} || $result->{err}, 'success', "all settings at once for $of: rotation succeeds");
		is(last_rotation($node, 'app_user', q{coalesce(note, 'none')}), 'none', "all settings at once for $of: without reservation");
		assert_invariants($node, 'app_user', "all settings at once for $of");
		sql($node, "ALTER $of RESET ALL");
	}
	like(sql($node, q{SELECT rolpassword FROM pg_authid WHERE rolname = 'app_user'}), qr/^SCRAM-SHA-256\$4096:/, 'the verifier is a SCRAM one');
	untouched($node, 'all at once');

	# A session whose search_path leads astray calls every function.
	{
		local $ENV{PGOPTIONS} = '-c search_path=hostile,pg_catalog';
		for my $call (
			q{rotor.rotate('app_user')}, q{rotor.get_secret('app_user')}, q{rotor.connection_uri('app_user')}, q{rotor.describe('app_user')},
			q{rotor.statistics()}, q{rotor.health()}, q{rotor.run_due()}, q{rotor.manage('delegate')}, q{rotor.rotate('app_user', false)},
			q{rotor.run_due()}, q{rotor.rollback('app_user')}, q{rotor.disable('app_user')}, q{rotor.enable('app_user')},
			q{rotor.grant_access('app_user', 'pg_catalog.pg_monitor'::pg_catalog.text::pg_catalog.regrole, 'read')},
			q{rotor.secrets}, q{rotor.rotations}, q{rotor.audit_log}, q{rotor.upcoming}, q{rotor.coverage}, q{rotor.dead_letter},
			q{rotor.transitions}, q{rotor.generate_password()}, q{rotor.generate_password('high')}, q{rotor.reset_statistics()}, q{rotor.rewrap_keys()})
		{
			my $sql = $call;
			$sql =~ s/'pg_catalog.pg_monitor'::pg_catalog.text::pg_catalog.regrole/'pg_monitor'/;
			succeeds($node, "SELECT * FROM $sql", "search_path leads astray: $sql works");
		}
		succeeds($node, q{UPDATE rotor.policy SET description = 'changed'}, 'search_path leads astray: a policy can be changed');
		fails($node, 'DELETE FROM rotor.audit', '42501', qr/append-only/, 'search_path leads astray: the audit is append-only');
	}
	untouched($node, 'search_path leads astray');
	assert_invariants($node, 'app_user', 'search_path leads astray');

	# session_replication_role switches ordinary triggers off.
	my $audited = sql($node, 'SELECT count(*) FROM rotor.audit');
	sql($node, q{SET session_replication_role = replica; UPDATE rotor.policy SET description = 'changed again' WHERE name = 'default'});
	is(sql($node, 'SELECT count(*) FROM rotor.audit'), $audited + 1, 'session_replication_role = replica: a change of a policy is audited');
	fails($node, "SET session_replication_role = replica; $_ rotor.audit", '42501', qr/append-only/, "session_replication_role = replica: $_ of the audit is refused")
	  for 'DELETE FROM', 'TRUNCATE';

	# Event triggers
	sql($node, <<'SQL');
CREATE FUNCTION public.forbid() RETURNS event_trigger LANGUAGE plpgsql AS $$BEGIN PERFORM public.trace('event trigger'); RAISE 'forbidden'; END$$;
CREATE EVENT TRIGGER forbid_start ON ddl_command_start EXECUTE FUNCTION public.forbid();
CREATE EVENT TRIGGER forbid_end ON ddl_command_end EXECUTE FUNCTION public.forbid();
SQL
	rotate_ok($node, 'app_user', 'with event triggers that forbid everything');
	untouched($node, 'event triggers');
	sql($node, 'DROP EVENT TRIGGER forbid_start; DROP EVENT TRIGGER forbid_end');

	# Now for workers that stay, which have read the settings when they connected.
	sql($node, join ';', map { ("ALTER DATABASE postgres SET $_->[0] = $_->[1]", "ALTER ROLE ALL SET $_->[0] = $_->[1]") } @settings);
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'rotor'\nrotor.poll_interval = '100ms'\n");
	$node->restart;
	rotate_ok($node, 'app_user', 'preloaded, all settings at once');
	sql($node, q{SELECT rotor.rotate('app_user', wait => false)});
	ok(poll_until(sub { last_rotation($node, 'app_user', 'status') eq 'success' }), 'preloaded, all settings at once: a queued rotation is done');
	sql($node, q{UPDATE rotor.secret SET next_rotation = now() - interval '1 minute' WHERE name = 'app_user'});
	ok(poll_until(sub { last_rotation($node, 'app_user', 'trigger, status') eq 'schedule|success' }), 'preloaded, all settings at once: so is a scheduled one');
	assert_invariants($node, 'app_user', 'preloaded, all settings at once');
	untouched($node, 'preloaded, all settings at once');
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal/, 'no process has crashed');
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# What an owner of the database, who is no superuser, has made before

{
	my $node = new_cluster('premade', preload => 1, extension => 0, conf => "rotor.database = 'home'\nrotor.poll_interval = '100ms'\n",
		hba => [ 'local all owner trust', 'host all all 127.0.0.1/32 scram-sha-256' ]);

	sql($node, 'CREATE ROLE owner LOGIN; CREATE ROLE app_user LOGIN; CREATE DATABASE home OWNER owner');
	my @home  = (dbname => 'home');
	my @owner = (dbname => 'home', user => 'owner');
	{
		local $ENV{PGOPTIONS} = '';
		sql($node, <<'SQL', @owner);
CREATE SCHEMA rotor;
CREATE TABLE public.traces (what text, who text);
GRANT ALL ON public.traces TO PUBLIC;
CREATE FUNCTION public.trace(what text) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.traces SELECT what, backend_type || ' as ' || current_user FROM pg_stat_activity WHERE pid = pg_backend_pid();
	RETURN 1;
END$$;
DO $do$
DECLARE t text;
BEGIN
	FOREACH t IN ARRAY ARRAY['secret', 'rotation', 'policy', 'version', 'data_key', 'audit', 'upcoming', 'saved_verifier', 'access_grant']
	LOOP
		EXECUTE format('CREATE VIEW rotor.%I AS SELECT public.trace(%L) AS id, public.trace(%L) AS secret_id, now() AS next_rotation, now() AS next_attempt_at, true AS enabled', t, t, t);
	END LOOP;
END$do$;
SQL
	}
	my $turn = sub { sql($node, q{SELECT state_change FROM pg_stat_activity WHERE backend_type = 'rotor worker' AND datname = 'home' ORDER BY pid LIMIT 1}) };
	for (1 .. 2)
	{
		my $last = $turn->();
		ok(poll_until(sub { my $now = $turn->(); $now ne '' && $now ne $last }), 'a worker looks at the database that is to be its home');
	}
	untouched($node, 'no extension, but a schema rotor', @home);
	fails($node, 'CREATE EXTENSION rotor', '42P06', qr/schema "rotor" already exists/, 'CREATE EXTENSION adopts no schema that is there', @home);
	is(sql($node, q{SELECT count(*) FROM pg_proc WHERE pronamespace = 'rotor'::regnamespace}, @home), '0', 'and leaves nothing in it');
	fails($node, q{SELECT rotor.rotate('app_user')}, '42883', undef, 'there is nothing to call', @home);

	# Overloads that would suit rotor's queries better than those of pg_catalog, where CREATE EXTENSION finds them.
	{
		local $ENV{PGOPTIONS} = '';
		sql($node, 'DROP SCHEMA rotor CASCADE', @owner);
		sql($node, <<'SQL', @owner);
CREATE FUNCTION public.convert_to(text, text) RETURNS bytea LANGUAGE plpgsql AS $$BEGIN PERFORM public.trace('convert_to'); RETURN NULL; END$$;
CREATE FUNCTION public.format(text, uuid) RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM public.trace('format'); RETURN NULL; END$$;
CREATE FUNCTION public.round(numeric, int) RETURNS numeric LANGUAGE plpgsql AS $$BEGIN PERFORM public.trace('round'); RETURN NULL; END$$;
CREATE FUNCTION public.substring(text, text) RETURNS text LANGUAGE plpgsql AS $$BEGIN PERFORM public.trace('substring'); RETURN NULL; END$$;
CREATE FUNCTION public.pg_extension_config_dump(text, text) RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM public.trace('config_dump'); END$$;
CREATE FUNCTION public.like_it(text, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM public.trace('like'); RETURN NULL; END$$;
CREATE FUNCTION public.length(text, text) RETURNS int LANGUAGE plpgsql AS $$BEGIN PERFORM public.trace('length'); RETURN NULL; END$$;
CREATE FUNCTION public.same_name(name, text) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM public.trace('name = text'); RETURN NULL; END$$;
CREATE FUNCTION public.same_id(bigint, int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN PERFORM public.trace('bigint = int'); RETURN NULL; END$$;
SQL
	}
	succeeds($node, 'CREATE EXTENSION rotor', 'without the schema, CREATE EXTENSION works', @home);
	is(sql($node, <<'SQL', @home), '', 'no object of rotor depends on a function or an operator of somebody else');
SELECT string_agg(DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid) || ' on ' || pg_describe_object(d.refclassid, d.refobjid, 0), '; ')
FROM pg_depend d LEFT JOIN pg_proc p ON d.refclassid = 'pg_proc'::regclass AND p.oid = d.refobjid
LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
WHERE p.pronamespace = 'public'::regnamespace AND d.classid <> 'pg_operator'::regclass OR o.oprnamespace = 'public'::regnamespace
SQL
	rotate_ok($node, 'app_user', 'and rotation', @home);
	succeeds($node, "SELECT * FROM rotor.$_", "rotor.$_ can be read by a superuser", @home) for qw(coverage dead_letter secrets health() statistics());
	untouched($node, 'overloads made before', @home);

	# A view where a table of the extension was.
	{
		my $password = sql($node, q{SELECT rotor.get_secret('app_user') ->> 'password'}, @home);

		sql($node, <<'SQL', @home);
ALTER TABLE rotor.policy RENAME TO former_policy;
CREATE VIEW rotor.policy AS SELECT p.*, p.xmin, public.trace('policy') FROM rotor.former_policy p;
ALTER VIEW rotor.policy OWNER TO owner;
GRANT USAGE ON SCHEMA rotor TO owner; GRANT SELECT ON rotor.former_policy TO owner;
SQL
		rotate_fails($node, 'app_user', '55000', undef, q{a view in a table's place: nothing is rotated}, @home);
		my $last = $turn->();
		ok(poll_until(sub { my $now = $turn->(); $now ne '' && $now ne $last }), 'a worker has looked at it');
		is(sql($node, q{SELECT count(*) FROM public.traces WHERE who LIKE 'rotor worker%'}, @home), '0', q{a view in a table's place: no worker has read it});
		logs_in($node, 'app_user', $password, 'the role has its password');
		sql($node, 'DROP VIEW rotor.policy; ALTER TABLE rotor.former_policy RENAME TO policy', @home);
		rotate_ok($node, 'app_user', 'with the table again', @home);
	}

	# The owner of the database has no way to what rotor keeps.
	{
		local $ENV{PGOPTIONS} = '';
		fails($node, $_, '42501', undef, "the owner of the database: $_", @owner)
		  for q{SELECT rotor.get_secret('app_user')}, 'SELECT * FROM rotor.version', q{SELECT rotor.rotate('app_user')},
		  'CREATE TABLE rotor.more ()', 'ALTER TABLE rotor.secret ADD more int', 'CREATE RULE r AS ON INSERT TO rotor.audit DO INSTEAD NOTHING',
		  'CREATE TRIGGER t BEFORE INSERT ON rotor.version FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()';
	}
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal/, 'no process has crashed');
	$node->stop;
}

#---------------------------------------------------------------------------------------------------------------------
# The environment of the server, and files that libpq reads

{
	my $node = new_cluster('environment', start => 0);
	my $home = PostgreSQL::Test::Utils::tempdir('home');
	my $trap = listener(sub { my ($socket, $note) = @_; sysread $socket, my $data, 8; });
	my $port = $trap->{port};

	# Wherever libpq might look: a service named as the database, as the default one, and a password file.
	append_to_file("$home/$_", "[evil]\nhost=127.0.0.1\nport=$port\nuser=postgres\n[postgres]\nhost=127.0.0.1\nport=$port\n") for '.pg_service.conf', 'pg_service.conf';
	append_to_file("$home/.pgpass", "*:*:*:*:wrong\n");
	chmod 0600, "$home/.pgpass";
	mkdir "$home/.postgresql";
	append_to_file("$home/.postgresql/$_", "nonsense\n") for qw(root.crt postgresql.crt postgresql.key root.crl);

	my %hostile = (
		HOME                 => $home,
		PGHOST               => '127.0.0.1',
		PGHOSTADDR           => '127.0.0.1',
		PGUSER               => 'postgres',
		PGPASSWORD           => 'wrong',
		PGPASSFILE           => "$home/.pgpass",
		PGSERVICE            => 'evil',
		PGSERVICEFILE        => "$home/.pg_service.conf",
		PGSYSCONFDIR         => $home,
		PGDATABASE           => 'template1',
		PGOPTIONS            => '-c default_transaction_read_only=on -c role=nobody',
		PGAPPNAME            => 'evil',
		PGSSLMODE            => 'verify-full',
		PGREQUIRESSL         => '1',
		PGSSLCERT            => "$home/.postgresql/postgresql.crt",
		PGSSLKEY             => "$home/.postgresql/postgresql.key",
		PGSSLROOTCERT        => "$home/.postgresql/root.crt",
		PGSSLCRL             => "$home/.postgresql/root.crl",
		PGSSLMINPROTOCOLVERSION => 'TLSv1.3',
		PGREQUIREPEER        => 'nobody',
		PGGSSENCMODE         => 'require',
		PGKRBSRVNAME         => 'evil',
		PGCHANNELBINDING     => 'require',
		PGTARGETSESSIONATTRS => 'standby',
		PGREQUIREAUTH        => 'none',
		PGCONNECT_TIMEOUT    => '1',
		PGLOCALEDIR          => $home,
		PGDATESTYLE          => 'German',
		PGTZ                 => 'Asia/Kathmandu',
		PGGEQO               => 'off',
		PGMINPROTOCOLVERSION => '3.2',
		PGSSLNEGOTIATION     => 'direct',
		PGLOADBALANCEHOSTS   => 'random',
	);
	my $start = sub {
		my $output = '';
		IPC::Run::run([ 'env', (map { "$_=$hostile{$_}" } keys %hostile), 'pg_ctl', '-w', '-D', $node->data_dir, '-l', $node->logfile, 'start' ],
			'<', '/dev/null', '>', \$output, '2>', '/dev/null')
		  or die "the server does not start:\n" . slurp_file($node->logfile);
		$node->_update_pid(1);
	};

	for my $preloaded (0, 1)
	{
		my $name = $preloaded ? 'hostile environment, preloaded' : 'hostile environment';

		$node->append_conf('postgresql.conf', "shared_preload_libraries = 'rotor'\n") if $preloaded;
		$start->();
		sql($node, 'CREATE EXTENSION rotor; CREATE ROLE app_user LOGIN; CREATE ROLE nobody') unless $preloaded;
		rotate_ok($node, 'app_user', $name);
		is(last_rotation($node, 'app_user', q{coalesce(note, 'none')}), 'none', "$name: without reservation");
		rotate_ok($node, 'app_user', "$name, once more");
		assert_invariants($node, 'app_user', $name);

		# By the socket, where PGREQUIREPEER would matter, and with TLS not at all.
		set_hba($node, 'local all app_user scram-sha-256', 'host all app_user 127.0.0.1/32 trust');
		rotate_ok($node, 'app_user', "$name, by the socket");
		set_hba($node, 'host all all 127.0.0.1/32 scram-sha-256');
		is(noted($trap, 'connection'), 0, "$name: nothing was sent elsewhere");
		$node->stop;
	}
	stop_listener($trap);
}

#---------------------------------------------------------------------------------------------------------------------
# Names

{
	my $node = new_cluster('names', preload => 1);
	my @names = (
		q{two words}, q{o'brien}, q{quo"te}, q{back\\slash}, q{%s%n%m}, q{UPPER}, q{select}, q{user=postgres host=192.0.2.1},
		q{-c role=postgres}, q{$user}, q{ünïcödé ∀}, 'x' x 63, q{a,b}, q{+group}, q{/regex.*}, q{#comment}, "new\nline", q{''; DROP ROLE nobody; --}, q{sameuser},
		q{postgresql://postgres@192.0.2.1/}, q{  spaces  });
	my $quoted     = sub { (my $name = $_[0]) =~ s/"/""/g; return qq{"$name"} };
	my $literal    = sub { (my $name = $_[0]) =~ s/'/''/g; return qq{'$name'} };

	for my $name (map { my $copy = $_; utf8::encode($copy); $copy } @names)
	{
		(my $shown = $name) =~ s/[^ -~]/?/g;
		sql($node, 'CREATE ROLE ' . $quoted->($name) . ' LOGIN');
		my $result = attempt($node, 'SELECT status FROM rotor.rotate(' . $literal->($name) . ')');
		is($result->{out} || $result->{err}, 'success', "role [$shown]: rotation succeeds");
		my $password = sql($node, 'SELECT rotor.get_secret(' . $literal->($name) . q{) ->> 'password'});
		my $login    = login($node, $name, $password);
		is($login->{out} eq $name ? 'in' : $login->{err}, 'in', "role [$shown]: its password logs in");
		is(sql($node, 'SELECT in_sync FROM rotor.coverage WHERE role = ' . $literal->($name)), 't', "role [$shown]: and is in sync");

		# connection_uri() goes into psql as it is.
		my ($out, $err) = ('', '');
		my $uri = sql($node, 'SELECT rotor.connection_uri(' . $literal->($name) . ')');
		$uri =~ s/localhost/127.0.0.1/;
		local $ENV{PGOPTIONS} = '';
		IPC::Run::run([ 'psql', '-XAtqw', '-d', $uri, '-c', 'SELECT current_user' ], '<', '/dev/null', '>', \$out, '2>', \$err);
		is($out eq "$name\n" ? 'in' : 'not in', 'in', "role [$shown]: and so does connection_uri()");
	}

	# A database whose name looks like a connection string
	my $dbname = q{host=192.0.2.1 user=postgres};
	sql($node, qq{CREATE DATABASE "$dbname"; CREATE DATABASE "postgresql://192.0.2.1/"; CREATE ROLE app_user LOGIN});
	for my $database ($dbname, 'postgresql://192.0.2.1/')
	{
		sql($node, "UPDATE rotor.policy SET verify_database = '$database', verify_query = 'SELECT current_database()::regtype' WHERE name = 'default'");
		rotate_ok($node, 'app_user', "verify_database [$database]");
		sql($node, q{UPDATE rotor.policy SET verify_query = 'SELECT 1' WHERE name = 'default'});
		rotate_ok($node, 'app_user', "verify_database [$database], another query");
		is(last_rotation($node, 'app_user', q{coalesce(note, 'none')}), 'none', "verify_database [$database]: without reservation");
	}
	assert_invariants($node, 'app_user', 'names');
	unlike(slurp_file($node->logfile), qr/PANIC|TRAP:|terminated by signal/, 'no process has crashed');
	$node->stop;
}

done_testing();
