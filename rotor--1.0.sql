-- Assembled from sql/ by the Makefile: change the pieces there, not this file.

-- sql/schema.sql

-- rotor: rotates database credentials.
\echo Use "CREATE EXTENSION rotor" to load this file. \quit

-- Fails if a schema of this name exists: a database owner could have prepared one.
CREATE SCHEMA rotor;
COMMENT ON SCHEMA rotor IS 'rotor: configuration in tables, actions as functions, observation as views';

-- One database of a cluster is rotor's home; anywhere else this is an error with the remedy.
CREATE FUNCTION rotor.check_home_database() RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_check_home_database';
SELECT rotor.check_home_database();
DROP FUNCTION rotor.check_home_database();

-- sql/tables.sql

-- Configuration and state. Superusers edit policy, store and target; everything else is written
-- by rotor's functions and its worker.

CREATE TABLE rotor.policy (
    name                text COLLATE "C" PRIMARY KEY
        CONSTRAINT policy_name_is_1_to_128_characters CHECK (length(name) BETWEEN 1 AND 128),
    type                text NOT NULL DEFAULT 'password'
        CONSTRAINT policy_type_is_password_hex_or_uuid CHECK (type IN ('password', 'hex', 'uuid')),
    length              int NOT NULL DEFAULT 32
        CONSTRAINT policy_length_is_8_to_1024 CHECK (length BETWEEN 8 AND 1024),
    uppercase           boolean NOT NULL DEFAULT true,
    lowercase           boolean NOT NULL DEFAULT true,
    digits              boolean NOT NULL DEFAULT true,
    symbols             boolean NOT NULL DEFAULT true,
    exclude             text NOT NULL DEFAULT '',
    require_each_type   boolean NOT NULL DEFAULT true,
    rotation_interval   interval
        CONSTRAINT policy_rotation_interval_is_at_least_a_minute
        CHECK (rotation_interval >= interval '1 minute')
        CONSTRAINT policy_rotation_interval_is_at_most_100_years
        CHECK (rotation_interval <= interval '100 years'),
    schedule            text
        CONSTRAINT policy_schedule_and_rotation_interval_exclude_each_other
        CHECK (schedule IS NULL OR rotation_interval IS NULL),
    time_zone           text,
    window_schedule     text
        CONSTRAINT policy_window_schedule_needs_a_window_duration
        CHECK (window_schedule IS NULL OR window_duration IS NOT NULL),
    window_duration     interval
        CONSTRAINT policy_window_duration_is_at_least_a_minute CHECK (window_duration >= interval '1 minute')
        CONSTRAINT policy_window_duration_is_at_most_31_days CHECK (window_duration <= interval '31 days')
        CONSTRAINT policy_window_duration_needs_a_window_schedule_or_a_schedule
        CHECK (window_duration IS NULL OR window_schedule IS NOT NULL OR schedule IS NOT NULL),
    jitter              interval
        CONSTRAINT policy_jitter_is_not_negative CHECK (jitter >= interval '0')
        CONSTRAINT policy_jitter_is_at_most_31_days CHECK (jitter <= interval '31 days'),
    strategy            text NOT NULL DEFAULT 'staged'
        CONSTRAINT policy_strategy_is_known CHECK (strategy IN ('staged', 'immediate', 'blue_green', 'dual_write')),
    grace_period        interval NOT NULL DEFAULT '1 hour'
        CONSTRAINT policy_grace_period_is_not_negative CHECK (grace_period >= interval '0')
        CONSTRAINT policy_grace_period_is_at_most_366_days CHECK (grace_period <= interval '366 days')
        CONSTRAINT policy_grace_period_is_shorter_than_rotation_interval CHECK (
            strategy NOT IN ('blue_green', 'dual_write') OR rotation_interval IS NULL OR grace_period < rotation_interval),
    verification        text NOT NULL DEFAULT 'login'
        CONSTRAINT policy_verification_is_login_or_verifier CHECK (verification IN ('login', 'verifier')),
    verify_query        text,
    verify_database     text,
    scram_iterations    int
        CONSTRAINT policy_scram_iterations_is_1_to_10000000
        CHECK (scram_iterations BETWEEN 1 AND 10000000),
    valid_until_margin  interval
        CONSTRAINT policy_valid_until_margin_is_positive CHECK (valid_until_margin > interval '0')
        CONSTRAINT policy_valid_until_margin_is_at_most_100_years
        CHECK (valid_until_margin <= interval '100 years')
        CONSTRAINT policy_valid_until_margin_needs_a_rotation_interval_or_schedule
        CHECK (valid_until_margin IS NULL OR rotation_interval IS NOT NULL OR schedule IS NOT NULL),
    terminate_sessions  boolean NOT NULL DEFAULT false,
    max_attempts        int NOT NULL DEFAULT 8
        CONSTRAINT policy_max_attempts_is_1_to_100 CHECK (max_attempts BETWEEN 1 AND 100),
    backoff             interval NOT NULL DEFAULT '1 second'
        CONSTRAINT policy_backoff_is_positive CHECK (backoff > interval '0'),
    backoff_max         interval NOT NULL DEFAULT '10 minutes'
        CONSTRAINT policy_backoff_max_is_at_least_backoff CHECK (backoff_max >= backoff)
        CONSTRAINT policy_backoff_max_is_at_most_30_days CHECK (backoff_max <= interval '30 days'),
    description         text,
    version_retention   interval NOT NULL DEFAULT '90 days'
        CONSTRAINT policy_version_retention_is_not_negative CHECK (version_retention >= interval '0')
        CONSTRAINT policy_version_retention_is_at_most_1000_years
        CHECK (version_retention <= interval '1000 years'),
    rotation_retention  interval NOT NULL DEFAULT '400 days'
        CONSTRAINT policy_rotation_retention_is_not_negative CHECK (rotation_retention >= interval '0')
        CONSTRAINT policy_rotation_retention_is_at_most_1000_years
        CHECK (rotation_retention <= interval '1000 years'),
    outside_change      text NOT NULL DEFAULT 'warn'
        CONSTRAINT policy_outside_change_is_allow_warn_or_refuse CHECK (outside_change IN ('allow', 'warn', 'refuse')),
    on_drift            text NOT NULL DEFAULT 'report'
        CONSTRAINT policy_on_drift_is_report_or_heal CHECK (on_drift IN ('report', 'heal')),
    builtin             boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE rotor.policy IS 'how a value is generated and when and how it is rotated; written by superusers only, every change is audited';
COMMENT ON COLUMN rotor.policy.name IS 'name of the policy';
COMMENT ON COLUMN rotor.policy.type IS 'what is generated: password, hex or uuid';
COMMENT ON COLUMN rotor.policy.length IS 'characters of a password or hex value, 8 to 1024; even for hex; not used for uuid';
COMMENT ON COLUMN rotor.policy.uppercase IS 'A to Z may occur';
COMMENT ON COLUMN rotor.policy.lowercase IS 'a to z may occur';
COMMENT ON COLUMN rotor.policy.digits IS '0 to 9 may occur';
COMMENT ON COLUMN rotor.policy.symbols IS 'ASCII punctuation may occur';
COMMENT ON COLUMN rotor.policy.exclude IS 'characters that must not occur';
COMMENT ON COLUMN rotor.policy.require_each_type IS 'every class that may occur does occur';
COMMENT ON COLUMN rotor.policy.rotation_interval IS 'time between rotations, a minute to 100 years; null, without schedule: only when asked';
COMMENT ON COLUMN rotor.policy.schedule IS 'when to rotate, as cron writes it: five fields, such as 30 3 * * mon-fri, or @hourly, @daily, @weekly, @monthly, @yearly; instead of rotation_interval';
COMMENT ON COLUMN rotor.policy.time_zone IS 'time zone of schedule, window_schedule and of the days and months of rotation_interval, such as Europe/Berlin; null: UTC';
COMMENT ON COLUMN rotor.policy.window_schedule IS 'when a window opens, as cron writes it; scheduled rotations begin only while one is open; null, with window_duration: at the times of schedule';
COMMENT ON COLUMN rotor.policy.window_duration IS 'how long a window is open, a minute to 31 days; null: rotations begin at any time';
COMMENT ON COLUMN rotor.policy.jitter IS 'each scheduled rotation is delayed by a random time up to this, which does not leave its window; at most 31 days; null: none';
COMMENT ON COLUMN rotor.policy.strategy IS 'staged: answers when the new password is proved, restores the old one if it is refused; immediate: answers when it is set, proves it afterwards; blue_green: the secret has two roles, which are used in turn; dual_write: on MySQL the former password stays valid beside the new one for a while';
COMMENT ON COLUMN rotor.policy.grace_period IS 'blue_green and dual_write: how long what was in use before can still log in, up to 366 days';
COMMENT ON COLUMN rotor.policy.verification IS 'login: the server must ask for the password and accept it; verifier: where pg_hba.conf asks for none, a check of the stored verifier suffices';
COMMENT ON COLUMN rotor.policy.verify_query IS 'one SELECT, run as the rotated role after its login; if it fails for good, the rotation succeeds with a note, for the password is proved; null: the login suffices';
COMMENT ON COLUMN rotor.policy.verify_database IS 'database of the verification login; null: rotor''s own';
COMMENT ON COLUMN rotor.policy.scram_iterations IS 'PBKDF2 rounds of the verifier, 1 to 10,000,000; null: the server''s default (4096, or scram_iterations from PostgreSQL 16 on)';
COMMENT ON COLUMN rotor.policy.valid_until_margin IS 'sets VALID UNTIL to the next rotation plus this margin, so that a password dies if rotation ever stops; null: VALID UNTIL is left alone';
COMMENT ON COLUMN rotor.policy.terminate_sessions IS 'end the role''s other sessions once the new password is proved';
COMMENT ON COLUMN rotor.policy.max_attempts IS 'attempts of a step before a rotation becomes a dead letter, 1 to 100';
COMMENT ON COLUMN rotor.policy.backoff IS 'first pause after a transient failure; doubled each time, with full jitter';
COMMENT ON COLUMN rotor.policy.backoff_max IS 'longest pause between attempts, at most 30 days';
COMMENT ON COLUMN rotor.policy.description IS 'what it is for';
COMMENT ON COLUMN rotor.policy.version_retention IS 'how long a version is kept after it was pending, current or previous for the last time; purge() removes it then';
COMMENT ON COLUMN rotor.policy.rotation_retention IS 'how long a rotation is kept after its end; purge() removes it then';
COMMENT ON COLUMN rotor.policy.outside_change IS 'what becomes of ALTER ROLE ... PASSWORD by anybody else, where rotor is preloaded: allow, warn, or refuse, for superusers too; audited each time';
COMMENT ON COLUMN rotor.policy.on_drift IS 'what follows when the role has a password that rotor does not know: report, or heal by a rotation at once, if the secret is enabled';
COMMENT ON COLUMN rotor.policy.builtin IS 'as rotor came with it; false once it was changed';

INSERT INTO rotor.policy (name, description, builtin) VALUES
    ('default', '32 characters of every class, rotated when asked', true);
INSERT INTO rotor.policy (name, length, rotation_interval, terminate_sessions, description, builtin) VALUES
    ('high', 64, '7 days', true, '64 characters of every class, rotated weekly, old sessions ended', true);
INSERT INTO rotor.policy (name, exclude, description, builtin) VALUES
    ('compat', $$!"#$%&'()*+,/:;<=>?@[\]^`{|}$$,
     'only symbols that stand unquoted in a URI, a connection string and an INI file: - . _ ~', true);

CREATE TABLE rotor.store (
    name        text COLLATE "C" PRIMARY KEY,
    type        text NOT NULL CONSTRAINT store_type_is_local_aws_vault_or_file
        CHECK (type IN ('local', 'aws', 'vault', 'file'))
        CONSTRAINT store_local_is_the_only_local_one CHECK ((type = 'local') = (name = 'local')),
    description text,
    builtin     boolean NOT NULL DEFAULT false,
    options     jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT store_options_is_an_object CHECK (jsonb_typeof(options) = 'object')
        CONSTRAINT store_options_hold_no_credential CHECK (
            NOT options ?| ARRAY['password', 'secret', 'secret_id', 'secret_access_key', 'session_token', 'token', 'api_key'])
);
COMMENT ON TABLE rotor.store IS 'where secrets are published; every version is sealed in this database first';
COMMENT ON COLUMN rotor.store.name IS 'name of the store';
COMMENT ON COLUMN rotor.store.type IS 'local: sealed in this database; aws, vault or file: also outside, by rotor worker';
COMMENT ON COLUMN rotor.store.description IS 'what it is for';
COMMENT ON COLUMN rotor.store.builtin IS 'as rotor came with it; false once it was changed';
COMMENT ON COLUMN rotor.store.options IS 'where and how, by type; never a credential: the worker has its own';
INSERT INTO rotor.store VALUES ('local', 'local', 'sealed in this database', true);

CREATE TABLE rotor.target (
    name        text COLLATE "C" PRIMARY KEY,
    type        text NOT NULL CONSTRAINT target_type_is_self_postgresql_mysql_command_or_http
        CHECK (type IN ('self', 'postgresql', 'mysql', 'command', 'http'))
        CONSTRAINT target_self_is_the_only_one_of_this_cluster CHECK ((type = 'self') = (name = 'self')),
    host        text CONSTRAINT target_database_needs_a_host
        CHECK (host IS NOT NULL OR type NOT IN ('postgresql', 'mysql')),
    port        int CONSTRAINT target_port_is_1_to_65535 CHECK (port BETWEEN 1 AND 65535),
    dbname      text,
    sslmode     text CONSTRAINT target_sslmode_is_one_of_libpq
        CHECK (sslmode IN ('disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full'))
        CONSTRAINT target_outside_has_no_sslmode_that_falls_back
        CHECK (type = 'self' OR sslmode NOT IN ('allow', 'prefer')),
    description text,
    builtin     boolean NOT NULL DEFAULT false,
    admin       text COLLATE "C" CONSTRAINT target_self_needs_no_admin CHECK (admin IS NULL OR type <> 'self'),
    options     jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT target_options_is_an_object CHECK (jsonb_typeof(options) = 'object')
        CONSTRAINT target_options_hold_no_credential CHECK (
            NOT options ?| ARRAY['password', 'secret', 'secret_id', 'secret_access_key', 'session_token', 'token', 'api_key'])
);
COMMENT ON TABLE rotor.target IS 'where a credential is valid, and the address that get_secret() and connection_uri() tell applications';
COMMENT ON COLUMN rotor.target.name IS 'name of the target';
COMMENT ON COLUMN rotor.target.type IS 'self: this cluster; postgresql, mysql, command or http: outside, by rotor worker';
COMMENT ON COLUMN rotor.target.host IS 'its host, also told to applications; null, of self: the address by which the reader is connected, else localhost';
COMMENT ON COLUMN rotor.target.port IS 'its port, also told to applications; null: this server''s, or the usual one of its type';
COMMENT ON COLUMN rotor.target.dbname IS 'database told to applications; null: the one that is read from';
COMMENT ON COLUMN rotor.target.sslmode IS 'sslmode of the worker''s connections and in connection_uri(); null: verify-full, of self: prefer';
COMMENT ON COLUMN rotor.target.description IS 'what it is for';
COMMENT ON COLUMN rotor.target.builtin IS 'as rotor came with it; false once it was changed';
COMMENT ON COLUMN rotor.target.admin IS 'name of the secret whose credential changes others at the target; null: each account changes its own';
COMMENT ON COLUMN rotor.target.options IS 'how, by type; never a credential';
INSERT INTO rotor.target (name, type, description, builtin) VALUES ('self', 'self', 'this cluster', true);

CREATE TABLE rotor.secret (
    id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name              text COLLATE "C" NOT NULL
        CONSTRAINT secret_name_is_1_to_128_characters CHECK (length(name) BETWEEN 1 AND 128),
    target            text COLLATE "C" NOT NULL DEFAULT 'self' REFERENCES rotor.target,
    username          text NOT NULL,
    role_oid          oid NOT NULL,
    system_identifier bigint NOT NULL,
    store             text COLLATE "C" NOT NULL DEFAULT 'local' REFERENCES rotor.store,
    policy            text COLLATE "C" NOT NULL DEFAULT 'default' REFERENCES rotor.policy ON UPDATE CASCADE,
    enabled           boolean NOT NULL DEFAULT true,
    next_rotation     timestamptz,
    last_rotation     timestamptz,
    failures          int NOT NULL DEFAULT 0,
    quarantined_until timestamptz,
    created_at        timestamptz NOT NULL DEFAULT now(),
    created_by        text NOT NULL,
    deleted_at        timestamptz,
    options           jsonb NOT NULL DEFAULT '{}'
        CONSTRAINT secret_options_is_an_object CHECK (jsonb_typeof(options) = 'object')
        CONSTRAINT secret_options_hold_no_credential CHECK (
            NOT options ?| ARRAY['password', 'secret', 'secret_id', 'secret_access_key', 'session_token', 'token', 'api_key']),
    retire_at         timestamptz
);
CREATE UNIQUE INDEX secret_name ON rotor.secret (name) WHERE deleted_at IS NULL;
CREATE UNIQUE INDEX secret_role ON rotor.secret (target, role_oid, system_identifier)
    WHERE deleted_at IS NULL AND role_oid <> 0;
CREATE UNIQUE INDEX secret_account ON rotor.secret
    (target, username COLLATE "C", (coalesce(options ->> 'host', '') COLLATE "C"), system_identifier)
    WHERE deleted_at IS NULL AND role_oid = 0;
CREATE INDEX secret_due ON rotor.secret (system_identifier, next_rotation)
    WHERE enabled AND deleted_at IS NULL AND next_rotation IS NOT NULL;
CREATE INDEX secret_retire ON rotor.secret (system_identifier, retire_at)
    WHERE deleted_at IS NULL AND retire_at IS NOT NULL;
CREATE INDEX secret_policy ON rotor.secret (policy, id);
CREATE INDEX secret_deleted ON rotor.secret (deleted_at) WHERE deleted_at IS NOT NULL;
COMMENT ON TABLE rotor.secret IS 'one managed credential; made by manage() or the first rotate()';
COMMENT ON COLUMN rotor.secret.id IS 'number of the secret';
COMMENT ON COLUMN rotor.secret.name IS 'name by which functions find it; the role''s name unless manage() said otherwise';
COMMENT ON COLUMN rotor.secret.target IS 'where the credential is valid';
COMMENT ON COLUMN rotor.secret.username IS 'the role''s name when it was last seen; outside: the account''s';
COMMENT ON COLUMN rotor.secret.role_oid IS 'the role''s oid: a rename is followed; 0: an account at a target outside this cluster';
COMMENT ON COLUMN rotor.secret.system_identifier IS 'the cluster the oid belongs to; 0: out of a dump of this one. reconcile() binds the secret to this cluster';
COMMENT ON COLUMN rotor.secret.store IS 'where its versions are published';
COMMENT ON COLUMN rotor.secret.policy IS 'how and when it is rotated';
COMMENT ON COLUMN rotor.secret.enabled IS 'rotated on schedule; rotate() works either way';
COMMENT ON COLUMN rotor.secret.next_rotation IS 'due from then on; null: only when asked';
COMMENT ON COLUMN rotor.secret.last_rotation IS 'end of the last successful rotation';
COMMENT ON COLUMN rotor.secret.failures IS 'rotations in a row that failed or were rolled back; 0 after a success, or requeue()';
COMMENT ON COLUMN rotor.secret.quarantined_until IS 'not rotated on schedule before, because rotations failed: holds while it equals next_rotation';
COMMENT ON COLUMN rotor.secret.created_at IS 'when it was taken under management';
COMMENT ON COLUMN rotor.secret.created_by IS 'who took it under management';
COMMENT ON COLUMN rotor.secret.deleted_at IS 'when management ended; null while it lasts; purge() removes the secret when rotor.recovery_window has passed';
COMMENT ON COLUMN rotor.secret.options IS 'what else its target or store needs to know of it, by their types, such as key: its name at the store';
COMMENT ON COLUMN rotor.secret.retire_at IS 'when what was in use before is not to log in any more: its role, if another one is in use now (see rotor.pair), or its former password (dual_write); null: nothing is left';

CREATE TABLE rotor.data_key (
    id            uuid PRIMARY KEY,
    master_key_id text NOT NULL,
    wrapped       bytea NOT NULL,
    check_value   bytea NOT NULL,
    active        boolean NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX data_key_one_active ON rotor.data_key (active) WHERE active;
COMMENT ON TABLE rotor.data_key IS 'keys that seal the values, each wrapped by a master key that never enters the database';
COMMENT ON COLUMN rotor.data_key.id IS 'bound into every value it seals';
COMMENT ON COLUMN rotor.data_key.master_key_id IS 'the master key that wraps it';
COMMENT ON COLUMN rotor.data_key.wrapped IS 'the data key under AES-256-GCM';
COMMENT ON COLUMN rotor.data_key.check_value IS 'tells a wrong master key from damaged data';
COMMENT ON COLUMN rotor.data_key.active IS 'seals new values';
COMMENT ON COLUMN rotor.data_key.created_at IS 'when it was made';

CREATE TABLE rotor.version (
    id          uuid PRIMARY KEY,
    secret_id   bigint NOT NULL REFERENCES rotor.secret,
    stage       text COLLATE "C" CONSTRAINT version_stage_is_pending_current_or_previous
        CHECK (stage IN ('pending', 'current', 'previous')),
    key_id      uuid NOT NULL REFERENCES rotor.data_key,
    sealed      bytea NOT NULL,
    fingerprint bytea,
    created_at  timestamptz NOT NULL DEFAULT now(),
    set_at      timestamptz,
    verified_at timestamptz,
    retired_at  timestamptz,
    superseded_at timestamptz
);
CREATE UNIQUE INDEX version_stage ON rotor.version (secret_id, stage) WHERE stage IS NOT NULL;
CREATE INDEX version_secret ON rotor.version (secret_id, created_at);
CREATE INDEX version_key ON rotor.version (key_id);
CREATE INDEX version_retired ON rotor.version (retired_at) WHERE stage IS NULL;
COMMENT ON TABLE rotor.version IS 'one value of a secret, sealed (AES-256-GCM; secret, version and key are bound into it)';
COMMENT ON COLUMN rotor.version.id IS 'the version''s uuid';
COMMENT ON COLUMN rotor.version.secret_id IS 'whose value it is';
COMMENT ON COLUMN rotor.version.stage IS 'pending, current or previous; null: none of them any more';
COMMENT ON COLUMN rotor.version.key_id IS 'the data key that opens it';
COMMENT ON COLUMN rotor.version.sealed IS 'the sealed value';
COMMENT ON COLUMN rotor.version.fingerprint IS 'SHA-256 of the verifier that the role was given for it; null: never set';
COMMENT ON COLUMN rotor.version.created_at IS 'when it was generated';
COMMENT ON COLUMN rotor.version.set_at IS 'when the role was given it';
COMMENT ON COLUMN rotor.version.verified_at IS 'when a login proved it';
COMMENT ON COLUMN rotor.version.retired_at IS 'when it lost its last stage; null while it has one';
COMMENT ON COLUMN rotor.version.superseded_at IS 'when rotor found that somebody else had given the role another password, while it was current; null: not';

CREATE TABLE rotor.rotation (
    id                 uuid PRIMARY KEY,
    secret_id          bigint NOT NULL REFERENCES rotor.secret,
    version_id         uuid,
    trigger            text NOT NULL CONSTRAINT rotation_trigger_is_known
        CHECK (trigger IN ('manual', 'schedule', 'rollback', 'emergency', 'value', 'grace_period')),
    strategy           text NOT NULL CONSTRAINT rotation_strategy_is_known
        CHECK (strategy IN ('staged', 'immediate', 'blue_green', 'dual_write')),
    step               text NOT NULL,
    status             text NOT NULL CONSTRAINT rotation_status_is_known
        CHECK (status IN ('pending', 'in_progress', 'verifying', 'success', 'failed', 'rolled_back', 'cancelled')),
    attempt            int NOT NULL DEFAULT 0,
    next_attempt_at    timestamptz,
    dead_letter        boolean NOT NULL DEFAULT false,
    outcome            text,
    error_code         text,
    error_message      text,
    note               text,
    reason             text,
    terminate_sessions boolean NOT NULL DEFAULT false,
    requested_by       text NOT NULL,
    session_user_name  text,
    client_addr        inet,
    queued_at          timestamptz NOT NULL DEFAULT now(),
    started_at         timestamptz,
    finished_at        timestamptz,
    duration           interval GENERATED ALWAYS AS (finished_at - started_at) STORED,
    create_ms          float8,
    set_ms             float8,
    test_ms            float8,
    finish_ms          float8,
    emergency          uuid,
    outside            boolean NOT NULL DEFAULT false,
    unsettled          boolean NOT NULL DEFAULT false,
    lease              uuid,
    leased_by          text,
    leased_until       timestamptz
);
CREATE UNIQUE INDEX rotation_one_active ON rotor.rotation (secret_id)
    WHERE status IN ('pending', 'in_progress', 'verifying');
CREATE INDEX rotation_due ON rotor.rotation (next_attempt_at)
    WHERE status IN ('pending', 'in_progress', 'verifying') AND NOT outside;
CREATE INDEX rotation_claim ON rotor.rotation (next_attempt_at)
    WHERE status IN ('pending', 'in_progress', 'verifying') AND outside;
CREATE UNIQUE INDEX rotation_lease ON rotor.rotation (lease) WHERE lease IS NOT NULL;
CREATE INDEX rotation_secret ON rotor.rotation (secret_id, queued_at);
CREATE INDEX rotation_dead ON rotor.rotation (secret_id) WHERE dead_letter;
CREATE INDEX rotation_emergency ON rotor.rotation (emergency) WHERE emergency IS NOT NULL;
CREATE INDEX rotation_finished ON rotor.rotation (finished_at) WHERE finished_at IS NOT NULL;
COMMENT ON TABLE rotor.rotation IS 'one attempt to give a secret a new value; its uuid is the correlation id everywhere';
COMMENT ON COLUMN rotor.rotation.id IS 'the rotation''s uuid';
COMMENT ON COLUMN rotor.rotation.secret_id IS 'the secret';
COMMENT ON COLUMN rotor.rotation.version_id IS 'the value it brings; history outlives it';
COMMENT ON COLUMN rotor.rotation.trigger IS 'manual, schedule, rollback, emergency, value: the user''s own, or grace_period: it is over, and what was in use before is not to log in any more';
COMMENT ON COLUMN rotor.rotation.strategy IS 'staged, immediate, blue_green or dual_write';
COMMENT ON COLUMN rotor.rotation.step IS 'what comes next: create, publish, set, test, finish, undo, retire; done when it is over';
COMMENT ON COLUMN rotor.rotation.status IS 'pending, in_progress, verifying; then success, failed, rolled_back or cancelled';
COMMENT ON COLUMN rotor.rotation.attempt IS 'transient failures of the present step so far';
COMMENT ON COLUMN rotor.rotation.next_attempt_at IS 'not before then; null when it is over';
COMMENT ON COLUMN rotor.rotation.dead_letter IS 'it gave up and a human should look; requeue() takes it up again';
COMMENT ON COLUMN rotor.rotation.outcome IS 'class of the last outcome that was not plain success';
COMMENT ON COLUMN rotor.rotation.error_code IS 'SQLSTATE of the last failure';
COMMENT ON COLUMN rotor.rotation.error_message IS 'message of the last failure';
COMMENT ON COLUMN rotor.rotation.note IS 'what else is worth knowing';
COMMENT ON COLUMN rotor.rotation.reason IS 'the caller''s words';
COMMENT ON COLUMN rotor.rotation.terminate_sessions IS 'the role''s other sessions are ended after proof';
COMMENT ON COLUMN rotor.rotation.requested_by IS 'the role that asked';
COMMENT ON COLUMN rotor.rotation.session_user_name IS 'the session user behind it';
COMMENT ON COLUMN rotor.rotation.client_addr IS 'from where; null: a local socket or the worker';
COMMENT ON COLUMN rotor.rotation.queued_at IS 'when it was asked for';
COMMENT ON COLUMN rotor.rotation.started_at IS 'when the first step began';
COMMENT ON COLUMN rotor.rotation.finished_at IS 'when it was over';
COMMENT ON COLUMN rotor.rotation.duration IS 'from start to end';
COMMENT ON COLUMN rotor.rotation.create_ms IS 'milliseconds of step create, its commit left out';
COMMENT ON COLUMN rotor.rotation.set_ms IS 'milliseconds of step set, its commit left out';
COMMENT ON COLUMN rotor.rotation.test_ms IS 'milliseconds of step test';
COMMENT ON COLUMN rotor.rotation.finish_ms IS 'milliseconds of step finish, its commit left out';
COMMENT ON COLUMN rotor.rotation.emergency IS 'the emergency it belongs to: the former value has leaked, so there is no way back';
COMMENT ON COLUMN rotor.rotation.outside IS 'its next step is for rotor worker';
COMMENT ON COLUMN rotor.rotation.unsettled IS 'something was sent for its present step, and nobody knows what became of it: whoever goes on looks first';
COMMENT ON COLUMN rotor.rotation.lease IS 'of the worker that has its present step; null: none has';
COMMENT ON COLUMN rotor.rotation.leased_by IS 'that worker, as it calls itself';
COMMENT ON COLUMN rotor.rotation.leased_until IS 'when another one may take it over';

CREATE TABLE rotor.pair (
    name       text COLLATE "C" PRIMARY KEY
        CONSTRAINT pair_name_is_1_to_128_characters CHECK (length(name) BETWEEN 1 AND 128),
    in_use     bigint NOT NULL UNIQUE REFERENCES rotor.secret ON DELETE CASCADE,
    resting    bigint NOT NULL UNIQUE REFERENCES rotor.secret ON DELETE CASCADE,
    owner      text NOT NULL,
    owner_oid  oid NOT NULL,
    used_since timestamptz,
    CONSTRAINT pair_is_two_secrets CHECK (in_use <> resting)
);
COMMENT ON TABLE rotor.pair IS 'two secrets whose roles are used in turn (strategy blue_green), and the name by which applications ask for the one that is in use';
COMMENT ON COLUMN rotor.pair.name IS 'name by which functions find the one in use, and rotate the other';
COMMENT ON COLUMN rotor.pair.in_use IS 'the secret that get_secret() gives; before the first rotation it has no value';
COMMENT ON COLUMN rotor.pair.resting IS 'the secret that is rotated next';
COMMENT ON COLUMN rotor.pair.owner IS 'name of the role that both are members of, log in as, and have the settings of, when it was last seen';
COMMENT ON COLUMN rotor.pair.owner_oid IS 'its oid, in the cluster of the secrets';
COMMENT ON COLUMN rotor.pair.used_since IS 'when they took turns for the last time';

CREATE TABLE rotor.saved_verifier (
    rotation_id       uuid PRIMARY KEY REFERENCES rotor.rotation,
    key_id            uuid REFERENCES rotor.data_key,
    sealed            bytea
        CONSTRAINT saved_verifier_is_sealed_by_a_key CHECK ((key_id IS NULL) = (sealed IS NULL)),
    version_stage     text,
    former_current    uuid REFERENCES rotor.version,
    former_previous   uuid REFERENCES rotor.version
);
COMMENT ON TABLE rotor.saved_verifier IS 'what a rotation replaced, sealed, kept until it ends: the way back';
COMMENT ON COLUMN rotor.saved_verifier.rotation_id IS 'the rotation';
COMMENT ON COLUMN rotor.saved_verifier.key_id IS 'the data key that opens it; null: a target outside, which has no verifier to save';
COMMENT ON COLUMN rotor.saved_verifier.sealed IS 'the role''s former verifier and VALID UNTIL, sealed';
COMMENT ON COLUMN rotor.saved_verifier.version_stage IS 'stage that the rotation''s version had';
COMMENT ON COLUMN rotor.saved_verifier.former_current IS 'version that was current';
COMMENT ON COLUMN rotor.saved_verifier.former_previous IS 'version that was previous';

CREATE TABLE rotor.emergency (
    id                 uuid PRIMARY KEY,
    policy             text,
    pattern            text,
    reason             text,
    terminate_sessions boolean,
    requested_by       text NOT NULL,
    session_user_name  text,
    client_addr        inet,
    requested_pid      int NOT NULL,
    total              bigint NOT NULL DEFAULT 0,
    succeeded          bigint,
    failed             bigint,
    started_at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at        timestamptz,
    cancelled_at       timestamptz
);
CREATE INDEX emergency_open ON rotor.emergency (started_at) WHERE finished_at IS NULL;
COMMENT ON TABLE rotor.emergency IS 'one rotate_all(): values have leaked, so many secrets get new ones';
COMMENT ON COLUMN rotor.emergency.id IS 'its uuid';
COMMENT ON COLUMN rotor.emergency.policy IS 'only secrets of this policy; null: of any';
COMMENT ON COLUMN rotor.emergency.pattern IS 'only secrets whose names are LIKE this; null: any';
COMMENT ON COLUMN rotor.emergency.reason IS 'the caller''s words';
COMMENT ON COLUMN rotor.emergency.terminate_sessions IS 'whether the roles'' other sessions are ended after proof; null: as each policy says';
COMMENT ON COLUMN rotor.emergency.requested_by IS 'the role that asked';
COMMENT ON COLUMN rotor.emergency.session_user_name IS 'the session user behind it';
COMMENT ON COLUMN rotor.emergency.client_addr IS 'from where; null: a local socket';
COMMENT ON COLUMN rotor.emergency.requested_pid IS 'process of the caller, whose own session is spared';
COMMENT ON COLUMN rotor.emergency.total IS 'secrets that were put on its list';
COMMENT ON COLUMN rotor.emergency.succeeded IS 'rotations that succeeded; null until it is over';
COMMENT ON COLUMN rotor.emergency.failed IS 'rotations that did not; null until it is over';
COMMENT ON COLUMN rotor.emergency.started_at IS 'when it was begun';
COMMENT ON COLUMN rotor.emergency.finished_at IS 'when nothing was left to do; null until then';
COMMENT ON COLUMN rotor.emergency.cancelled_at IS 'when cancel_emergency() called off what had not begun';

CREATE TABLE rotor.emergency_secret (
    secret_id bigint PRIMARY KEY REFERENCES rotor.secret ON DELETE CASCADE,
    emergency uuid NOT NULL REFERENCES rotor.emergency
);
CREATE INDEX emergency_secret_emergency ON rotor.emergency_secret (emergency);
COMMENT ON TABLE rotor.emergency_secret IS 'secrets of emergencies whose rotation has not begun yet';
COMMENT ON COLUMN rotor.emergency_secret.secret_id IS 'the secret';
COMMENT ON COLUMN rotor.emergency_secret.emergency IS 'the emergency; a later one takes the secret over';

CREATE TABLE rotor.access_grant (
    secret_id  bigint NOT NULL REFERENCES rotor.secret,
    role_oid   oid NOT NULL,
    privilege  text COLLATE "C" NOT NULL CONSTRAINT access_grant_privilege_is_read_rotate_or_manage
        CHECK (privilege IN ('read', 'rotate', 'manage')),
    granted_by text NOT NULL,
    granted_at timestamptz NOT NULL DEFAULT now(),
    gave_usage boolean NOT NULL,
    gave_execute text[] NOT NULL,
    role_name  text NOT NULL,
    PRIMARY KEY (secret_id, role_oid, privilege)
);
COMMENT ON TABLE rotor.access_grant IS 'rights on single secrets, given by grant_access()';
COMMENT ON COLUMN rotor.access_grant.secret_id IS 'the secret';
COMMENT ON COLUMN rotor.access_grant.role_oid IS 'who has the right';
COMMENT ON COLUMN rotor.access_grant.privilege IS 'read, rotate or manage (which includes both)';
COMMENT ON COLUMN rotor.access_grant.granted_by IS 'who gave it';
COMMENT ON COLUMN rotor.access_grant.granted_at IS 'when';
COMMENT ON COLUMN rotor.access_grant.gave_usage IS 'the role had no USAGE on the schema before: it goes with its last right';
COMMENT ON COLUMN rotor.access_grant.gave_execute IS 'the functions that the role had no EXECUTE on before: it goes with the last right that needs them';
COMMENT ON COLUMN rotor.access_grant.role_name IS 'its name when it was last seen: in another cluster reconcile() finds it by that';

CREATE SEQUENCE rotor.audit_id AS bigint;
CREATE TABLE rotor.audit (
    id           bigint NOT NULL DEFAULT nextval('rotor.audit_id'),
    at           timestamptz NOT NULL DEFAULT clock_timestamp(),
    actor        text NOT NULL,
    session_user_name text,
    client_addr  inet,
    event        text NOT NULL,
    secret       text,
    rotation     uuid,
    version      uuid,
    result       text NOT NULL,
    duration_ms  float8,
    detail       jsonb,
    PRIMARY KEY (at, id)
) PARTITION BY RANGE (at);
ALTER SEQUENCE rotor.audit_id OWNED BY rotor.audit.id;
CREATE INDEX audit_rotation ON rotor.audit (rotation) WHERE rotation IS NOT NULL;
-- For months whose partition was not made in time. Partitions of months are made in guards.sql and by maintenance.
CREATE TABLE rotor.audit_default PARTITION OF rotor.audit DEFAULT;
COMMENT ON TABLE rotor.audit_default IS 'rows of months for which no partition was made in time';
COMMENT ON TABLE rotor.audit IS 'append-only: who did what to which secret, from where, with what result; one partition a month (UTC)';
COMMENT ON COLUMN rotor.audit.id IS 'grows with time';
COMMENT ON COLUMN rotor.audit.at IS 'when';
COMMENT ON COLUMN rotor.audit.actor IS 'the role that acted';
COMMENT ON COLUMN rotor.audit.session_user_name IS 'the session user behind it';
COMMENT ON COLUMN rotor.audit.client_addr IS 'from where; null: a local socket or the worker';
COMMENT ON COLUMN rotor.audit.event IS 'what was done';
COMMENT ON COLUMN rotor.audit.secret IS 'to which secret';
COMMENT ON COLUMN rotor.audit.rotation IS 'in which rotation';
COMMENT ON COLUMN rotor.audit.version IS 'with which version';
COMMENT ON COLUMN rotor.audit.result IS 'ok, or the class of the failure';
COMMENT ON COLUMN rotor.audit.duration_ms IS 'milliseconds it took';
COMMENT ON COLUMN rotor.audit.detail IS 'anything else, never a value';

CREATE TABLE rotor.statistics_reset (
    singleton boolean PRIMARY KEY DEFAULT true
        CONSTRAINT statistics_reset_has_one_row CHECK (singleton),
    at        timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE rotor.statistics_reset IS 'from when statistics() counts';
COMMENT ON COLUMN rotor.statistics_reset.singleton IS 'there is one row';
COMMENT ON COLUMN rotor.statistics_reset.at IS 'the last reset_statistics(), or the extension''s creation';
INSERT INTO rotor.statistics_reset DEFAULT VALUES;

CREATE TABLE rotor.home (
    singleton    boolean PRIMARY KEY DEFAULT true CONSTRAINT home_has_one_row CHECK (singleton),
    database_oid oid NOT NULL,
    maintained_at timestamptz,
    timeline     int
);
COMMENT ON TABLE rotor.home IS 'the database the extension was created in: a copy of it (CREATE DATABASE ... TEMPLATE) rotates nothing';
COMMENT ON COLUMN rotor.home.singleton IS 'there is one row';
COMMENT ON COLUMN rotor.home.database_oid IS 'oid of that database';
COMMENT ON COLUMN rotor.home.maintained_at IS 'when a worker last began to make partitions and to purge';
COMMENT ON COLUMN rotor.home.timeline IS 'the timeline on which secrets were last compared with their roles: another one after a promotion or a restore';
INSERT INTO rotor.home (database_oid, timeline)
    SELECT oid, ('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int
    FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database();

-- sql/generate.sql

-- Values out of the server's strong random source. Nothing is stored.

CREATE FUNCTION rotor.generate_password(
    length int DEFAULT 32, uppercase boolean DEFAULT true, lowercase boolean DEFAULT true,
    digits boolean DEFAULT true, symbols boolean DEFAULT true, exclude text DEFAULT '',
    require_each_type boolean DEFAULT true) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rotor_generate_password';
COMMENT ON FUNCTION rotor.generate_password(int, boolean, boolean, boolean, boolean, text, boolean) IS
    'a random ASCII password of 8 to 1024 characters, uniform over all that the arguments allow; 22023 for contradictory arguments';

CREATE FUNCTION rotor.generate_password(policy text) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_generate_for_policy';
COMMENT ON FUNCTION rotor.generate_password(text) IS
    'a random value as the policy generates it; 42704 for an unknown policy';

CREATE FUNCTION rotor.generate_hex(bytes int DEFAULT 32) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rotor_generate_hex';
COMMENT ON FUNCTION rotor.generate_hex(int) IS
    '4 to 512 random bytes as lower-case hexadecimal digits, two for each byte';

CREATE FUNCTION rotor.generate_uuid() RETURNS uuid
    LANGUAGE c VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'rotor_generate_uuid';
COMMENT ON FUNCTION rotor.generate_uuid() IS 'a random uuid (RFC 9562, version 4)';

-- sql/secret.sql

-- Reading secrets.

CREATE FUNCTION rotor.get_secret(secret text, stage text DEFAULT 'current') RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_get_secret';
COMMENT ON FUNCTION rotor.get_secret(text, text) IS
    'username, password, host, port, dbname, engine, version_id and stages of the version with that stage (current, previous, pending), as the server knows it now, whatever the caller''s snapshot';

CREATE FUNCTION rotor.connection_uri(secret text, dbname text DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_connection_uri';
COMMENT ON FUNCTION rotor.connection_uri(text, text) IS
    'libpq URI with the current password, percent-encoded, and sslmode';

CREATE FUNCTION rotor.describe(secret text) RETURNS jsonb
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_describe';
COMMENT ON FUNCTION rotor.describe(text) IS
    'versions with their stages and dates, schedule and last rotation; never a value';

-- sql/rotate.sql

-- The main job and what goes with it.

CREATE FUNCTION rotor.rotate(
    secret text, wait boolean DEFAULT true, strategy text DEFAULT NULL,
    reason text DEFAULT NULL, terminate_sessions boolean DEFAULT NULL) RETURNS rotor.rotation
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_rotate';
COMMENT ON FUNCTION rotor.rotate(text, boolean, text, text, boolean) IS
    'gives the secret a new password, proved by a login, and returns the finished rotation; not undone by a rollback of the caller; wait => false queues it in the caller''s transaction';

CREATE FUNCTION rotor.run_due(OUT status text, OUT rotations bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_run_due';
COMMENT ON FUNCTION rotor.run_due() IS
    'does every rotation that is due or queued or was left unfinished and is in no other hands, and counts them by status; for servers driven by cron or pg_cron';

CREATE FUNCTION rotor.next_runs(
    policy text, count int DEFAULT 10, after timestamptz DEFAULT NULL,
    OUT planned timestamptz, OUT latest timestamptz, OUT window_end timestamptz) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_next_runs';
COMMENT ON FUNCTION rotor.next_runs(text, int, timestamptz) IS
    'the next rotations that a policy plans, for a password that was set at "after" (null: now): from when, until when with all of its jitter, and when the window closes';
CREATE FUNCTION rotor.rotate_all(
    policy text DEFAULT NULL, pattern text DEFAULT NULL, reason text DEFAULT NULL,
    terminate_sessions boolean DEFAULT NULL, wait boolean DEFAULT true,
    OUT status text, OUT rotations bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_rotate_all';
COMMENT ON FUNCTION rotor.rotate_all(text, text, text, boolean, boolean) IS
    'emergency: gives every secret, or those of a policy, or whose names are LIKE a pattern, a new value and counts the rotations by status; never back to the former values; superusers only';

CREATE FUNCTION rotor.cancel_emergency(emergency uuid) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_cancel_emergency';
COMMENT ON FUNCTION rotor.cancel_emergency(uuid) IS
    'calls off those rotations of an emergency that have not begun, and returns how many; 55000 if it is over; superusers only';

CREATE FUNCTION rotor.rollback(secret text) RETURNS rotor.rotation
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_rollback';
COMMENT ON FUNCTION rotor.rollback(text) IS
    'makes the previous version current again, by a rotation of its own; the present one becomes previous';

CREATE FUNCTION rotor.cancel(rotation uuid) RETURNS rotor.rotation
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_cancel';
COMMENT ON FUNCTION rotor.cancel(uuid) IS
    'cancels a rotation that has not changed the role yet; 55000 if it has, or is over';

CREATE FUNCTION rotor.requeue(rotation uuid) RETURNS rotor.rotation
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_requeue';
COMMENT ON FUNCTION rotor.requeue(uuid) IS
    'takes a dead letter up again where it stopped; queued in the caller''s transaction';

-- sql/worker.sql

-- What workers outside call. docs/worker-protocol.md has the form of a job.

CREATE FUNCTION rotor.claim(
    worker text, target_types text[], store_types text[], max_jobs int DEFAULT 1,
    except_targets text[] DEFAULT '{}', except_stores text[] DEFAULT '{}') RETURNS SETOF json
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_claim';
COMMENT ON FUNCTION rotor.claim(text, text[], text[], int, text[], text[]) IS
    'hands out steps of rotations whose target or store, of one of those types and not excepted by its name, is outside, for rotor.lease_duration; each with the values that it needs; for rotor worker';

CREATE FUNCTION rotor.heartbeat(worker text, leases uuid[]) RETURNS json
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_heartbeat';
COMMENT ON FUNCTION rotor.heartbeat(text, uuid[]) IS
    'extends leases that still run, and tells which those are, which of them somebody has locked just now, and how long the queue is; for rotor worker';

CREATE FUNCTION rotor.complete(
    rotation uuid, lease uuid, outcome text, code text DEFAULT NULL, message text DEFAULT NULL,
    duration_ms float8 DEFAULT NULL) RETURNS json
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_complete';
COMMENT ON FUNCTION rotor.complete(uuid, uuid, text, text, text, float8) IS
    'reports that a step is done (ok or proved), and returns the rotation''s next one if it is for a worker too, else null; 55000 if the lease is over; for rotor worker';

CREATE FUNCTION rotor.fail(
    rotation uuid, lease uuid, outcome text, code text DEFAULT NULL, message text DEFAULT NULL,
    duration_ms float8 DEFAULT NULL, retry_after_ms bigint DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_fail';
COMMENT ON FUNCTION rotor.fail(uuid, uuid, text, text, text, float8, bigint) IS
    'reports that a step is not done, and why (transient, unknown, refused, inconclusive, superseded, permanent, internal), or hands it back untouched (released); returns the rotation''s status; 55000 if the lease is over; for rotor worker';

CREATE FUNCTION rotor.setup_worker(role text DEFAULT 'rotor_worker') RETURNS void
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_setup_worker';
COMMENT ON FUNCTION rotor.setup_worker(text) IS
    'lets a role, which is made if there is none, do the work outside: EXECUTE on claim(), heartbeat(), complete() and fail(), nothing else; superusers only';

-- sql/intake.sql

-- A value of the user's own, which never stands in SQL text: `rotor set` calls these.

CREATE FUNCTION rotor.intake_certificate() RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_intake_certificate';
COMMENT ON FUNCTION rotor.intake_certificate() IS
    'a certificate, in PEM, to wrap a value for set_value() with (CMS); its private key exists in this session only';

CREATE FUNCTION rotor.set_value(secret text, envelope text, adopt boolean DEFAULT false) RETURNS uuid
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_set_value';
COMMENT ON FUNCTION rotor.set_value(text, text, boolean) IS
    'rotates the secret to the value in the envelope, queued in the caller''s transaction, and returns the rotation''s uuid; adopt => true: the account has it already, so it only becomes current, and null is returned; manage on the secret is needed';

-- sql/admin.sql

-- Managing secrets and rights.

CREATE FUNCTION rotor.manage(
    secret text, username text DEFAULT NULL, policy text DEFAULT NULL,
    store text DEFAULT 'local', target text DEFAULT 'self', options jsonb DEFAULT NULL) RETURNS rotor.secret
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_manage';
COMMENT ON FUNCTION rotor.manage(text, text, text, text, text, jsonb) IS
    'takes a role, or an account at a target outside, under management, or gives a managed one another policy or other options; nothing is touched; username defaults to the secret''s name, policy to default, or to what a managed one has; with a target or store outside, superusers only';

CREATE FUNCTION rotor.unmanage(secret text) RETURNS rotor.secret
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_unmanage';
COMMENT ON FUNCTION rotor.unmanage(text) IS
    'ends the management of a secret; the role and its password stay; versions are kept for rotor.recovery_window, so that restore() can bring it back; its name can be used anew';

CREATE FUNCTION rotor.restore(secret text) RETURNS rotor.secret
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_restore';
COMMENT ON FUNCTION rotor.restore(text) IS
    'takes up again the management that unmanage() ended, within rotor.recovery_window';

CREATE FUNCTION rotor.enable(secret text) RETURNS rotor.secret
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_enable';
COMMENT ON FUNCTION rotor.enable(text) IS 'rotate on schedule again';

CREATE FUNCTION rotor.disable(secret text) RETURNS rotor.secret
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_disable';
COMMENT ON FUNCTION rotor.disable(text) IS 'do not rotate on schedule; rotate() still works';

CREATE FUNCTION rotor.grant_access(secret text, role regrole, privilege text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_grant_access';
COMMENT ON FUNCTION rotor.grant_access(text, regrole, text) IS
    'gives a role read, rotate or manage on one secret, with USAGE and EXECUTE for it; manage includes read and rotate';

CREATE FUNCTION rotor.revoke_access(secret text, role regrole, privilege text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_revoke_access';
COMMENT ON FUNCTION rotor.revoke_access(text, regrole, text) IS
    'takes a right on one secret back; USAGE and EXECUTE go with the role''s last right';

CREATE FUNCTION rotor.reset_statistics() RETURNS timestamptz
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_reset_statistics';
COMMENT ON FUNCTION rotor.reset_statistics() IS
    'statistics() counts from now on; nothing is deleted; superusers only';

CREATE FUNCTION rotor.reconcile(
    secret text DEFAULT NULL,
    OUT secret_name text, OUT role text, OUT finding text, OUT remedy text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_reconcile';
COMMENT ON FUNCTION rotor.reconcile(text) IS
    'compares one secret, or all (superusers only), with its role: learns new names, says which password was changed by somebody else, and binds the secrets that a dump or pg_upgrade brought from another cluster (superusers only): until then they are not rotated, and only superusers read them';

CREATE FUNCTION rotor.purge(
    dry_run boolean DEFAULT false, OUT what text, OUT purged bigint) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_purge';
COMMENT ON FUNCTION rotor.purge(boolean) IS
    'removes unmanaged secrets, versions, rotations and audit that their retention has passed, never what may be live, and returns how many; workers do it by themselves; dry_run: only counts; superusers only';

-- sql/keys.sql

-- Keys for years: master keys and data keys are added, rotated and retired. Superusers only.

CREATE FUNCTION rotor.add_master_key(id text DEFAULT NULL) RETURNS text
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_add_master_key';
COMMENT ON FUNCTION rotor.add_master_key(text) IS
    'appends a new random master key to the key file as the newest, and returns its id; not undone by a rollback; superusers only';

CREATE FUNCTION rotor.rewrap_keys() RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_rewrap_keys';
COMMENT ON FUNCTION rotor.rewrap_keys() IS
    'wraps every data key by the newest master key and returns how many were moved; superusers only';

CREATE FUNCTION rotor.rotate_data_key() RETURNS uuid
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_rotate_data_key';
COMMENT ON FUNCTION rotor.rotate_data_key() IS
    'makes a new data key, which seals values from the commit on, and returns its id; what the old one sealed stays readable and is moved by workers or reseal(); superusers only';

CREATE FUNCTION rotor.reseal(max_values bigint DEFAULT NULL) RETURNS bigint
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_reseal';
COMMENT ON FUNCTION rotor.reseal(bigint) IS
    'seals values of former data keys anew by the active one, leaving out those that a rotation has locked, and returns how many; workers do it by themselves; superusers only';

CREATE FUNCTION rotor.retire_keys(OUT kind text, OUT id text) RETURNS SETOF record
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_retire_keys';
COMMENT ON FUNCTION rotor.retire_keys() IS
    'deletes the data keys that no value needs any more and returns them, then lists the master keys of the key file that no data key needs, which stay; superusers only';

CREATE FUNCTION rotor.remove_master_key(id text) RETURNS void
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_remove_master_key';
COMMENT ON FUNCTION rotor.remove_master_key(text) IS
    'takes a master key that no data key needs out of the key file; not undone by a rollback; superusers only';

CREATE FUNCTION rotor.export_keys(certificate text) RETURNS text
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_export_keys';
COMMENT ON FUNCTION rotor.export_keys(text) IS
    'the master keys that data keys need, and the newest, in an envelope (CMS, PEM) that only the private key of this X.509 certificate opens; superusers only';

CREATE FUNCTION rotor.import_keys(envelope text, private_key_file text) RETURNS bigint
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_import_keys';
COMMENT ON FUNCTION rotor.import_keys(text, text) IS
    'opens what export_keys() gave with the private key in a file of the server, adds the master keys that the key file lacks before those that are there, and returns how many; not undone by a rollback; superusers only';

CREATE VIEW rotor.keys AS
    SELECT k.id, k.master_key_id, k.active, k.created_at, v.versions, s.saved_verifiers,
           CASE WHEN k.active THEN 'active' WHEN v.versions + s.saved_verifiers > 0 THEN 'resealing'
                ELSE 'unused' END AS state
    FROM rotor.data_key k
    CROSS JOIN LATERAL (SELECT count(*) AS versions FROM rotor.version v WHERE v.key_id = k.id) v
    CROSS JOIN LATERAL (SELECT count(*) AS saved_verifiers FROM rotor.saved_verifier s WHERE s.key_id = k.id) s;
COMMENT ON VIEW rotor.keys IS 'one row a data key: the master key that wraps it, and how many values still need it; never a key';

-- sql/observe.sql

-- Observation: statistics, health and the views. Never a value.

CREATE FUNCTION rotor.health(
    OUT check_name text, OUT status text, OUT detail text, OUT hint text) RETURNS SETOF record
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_health';
COMMENT ON FUNCTION rotor.health() IS
    'one row a finding, ok, warning or error, with the remedy; proves the key, on a standby too';

CREATE FUNCTION rotor.transitions(
    OUT step text, OUT outcome text, OUT next_step text, OUT status text, OUT event text,
    OUT retry boolean, OUT dead_letter boolean, OUT live text, OUT meaning text) RETURNS SETOF record
    LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'rotor_transitions';
COMMENT ON FUNCTION rotor.transitions() IS 'the table that decides what follows each outcome of each step';

CREATE VIEW rotor.transitions AS SELECT * FROM rotor.transitions();
COMMENT ON VIEW rotor.transitions IS 'the table that decides what follows each outcome of each step; live: the password the role accepts afterwards; needs EXECUTE on rotor.transitions() too';

CREATE VIEW rotor.secrets AS
    SELECT s.name AS secret, coalesce(a.rolname::text, s.username) AS role,
           CASE WHEN s.role_oid <> 0 THEN a.oid IS NOT NULL END AS role_exists,
           s.policy, s.store, s.target, s.enabled,
           now() - v.set_at AS age, v.id AS version_id, v.verified_at, s.last_rotation, s.next_rotation,
           l.status AS last_status, l.error_code AS last_error_code, l.error_message AS last_error,
           l.id AS last_rotation_id, s.created_at, s.created_by,
           CASE WHEN s.system_identifier <> c.system_identifier THEN 'other_cluster'
                WHEN a.oid IS NULL AND s.role_oid <> 0 THEN 'no_role' WHEN NOT s.enabled THEN 'disabled'
                WHEN v.superseded_at IS NOT NULL THEN 'changed_elsewhere'
                WHEN o.resting IS NOT NULL THEN 'resting'
                WHEN s.next_rotation = s.quarantined_until THEN 'quarantined'
                WHEN v.id IS NULL THEN 'no_value' ELSE 'active' END AS state, s.failures,
           CASE WHEN s.next_rotation = s.quarantined_until THEN s.quarantined_until END AS quarantined_until
    FROM rotor.secret s
    CROSS JOIN pg_catalog.pg_control_system() c
    LEFT JOIN pg_catalog.pg_roles a ON a.oid = s.role_oid AND s.system_identifier = c.system_identifier
    LEFT JOIN rotor.version v ON v.secret_id = s.id AND v.stage = 'current'
    LEFT JOIN rotor.pair o ON o.resting = s.id
    LEFT JOIN LATERAL (
        SELECT r.id, r.status, r.error_code, r.error_message FROM rotor.rotation r
        WHERE r.secret_id = s.id ORDER BY r.queued_at DESC LIMIT 1) l ON true
    WHERE s.deleted_at IS NULL;
COMMENT ON VIEW rotor.secrets IS 'one row a secret: role, policy, store, age of the password, next rotation, last result, state; never a value';

CREATE VIEW rotor.pairs AS
    SELECT p.name AS secret, coalesce(a.rolname::text, p.owner) AS owner, u.name AS in_use, r.name AS resting,
           p.used_since, r.retire_at, r.next_rotation, u.policy
    FROM rotor.pair p
    JOIN rotor.secret u ON u.id = p.in_use AND u.deleted_at IS NULL
    JOIN rotor.secret r ON r.id = p.resting AND r.deleted_at IS NULL
    CROSS JOIN pg_catalog.pg_control_system() c
    LEFT JOIN pg_catalog.pg_roles a ON a.oid = p.owner_oid AND u.system_identifier = c.system_identifier;
COMMENT ON VIEW rotor.pairs IS 'two secrets whose roles are used in turn (strategy blue_green): which is in use, which rests, since when, and until when the one that rests can log in';

CREATE VIEW rotor.unmanaged AS
    SELECT s.name AS secret, s.username AS role, s.policy, s.deleted_at AS unmanaged_at,
           s.deleted_at + coalesce(nullif(current_setting('rotor.recovery_window', true), ''), '7d')::interval
               AS restorable_until
    FROM rotor.secret s
    WHERE s.deleted_at IS NOT NULL;
COMMENT ON VIEW rotor.unmanaged IS 'secrets whose management ended, and until when restore() brings them back; maintenance removes them afterwards';

CREATE VIEW rotor.rotations AS
    SELECT r.id, s.name AS secret, s.username AS role, r.version_id, r.trigger, r.strategy, r.step, r.status,
           r.attempt, r.next_attempt_at, r.dead_letter, r.outcome, r.error_code, r.error_message, r.note,
           r.reason, r.requested_by, r.session_user_name, r.client_addr,
           r.queued_at, r.started_at, r.finished_at, r.duration,
           r.create_ms, r.set_ms, r.test_ms, r.finish_ms, r.emergency, r.outside, r.unsettled,
           r.leased_by, r.leased_until
    FROM rotor.rotation r JOIN rotor.secret s ON s.id = r.secret_id;
COMMENT ON VIEW rotor.rotations IS 'history of all rotations, with the time of each step';

CREATE VIEW rotor.emergencies AS
    SELECT e.id, e.policy, e.pattern, e.reason, e.requested_by,
           CASE WHEN e.cancelled_at IS NOT NULL THEN 'cancelled' WHEN e.finished_at IS NOT NULL THEN 'finished'
                ELSE 'running' END AS state,
           e.total, coalesce(e.succeeded + e.failed, c.succeeded + c.failed) AS done,
           coalesce(e.succeeded, c.succeeded) AS succeeded, coalesce(e.failed, c.failed) AS failed,
           c.waiting + c.active AS remaining,
           round((coalesce(e.succeeded + e.failed, c.succeeded + c.failed) / nullif(extract(epoch
               FROM coalesce(e.finished_at, clock_timestamp()) - e.started_at), 0))::numeric, 1) AS per_second,
           CASE WHEN e.finished_at IS NULL AND c.succeeded + c.failed > 0
                THEN (clock_timestamp() - e.started_at) * ((c.waiting + c.active)::float8 / (c.succeeded + c.failed))
                END AS time_left,
           e.started_at, e.finished_at, e.cancelled_at
    FROM rotor.emergency e
    CROSS JOIN LATERAL (
        SELECT (SELECT count(*) FROM rotor.emergency_secret l WHERE l.emergency = e.id) AS waiting,
               count(*) FILTER (WHERE r.status = 'success') AS succeeded,
               count(*) FILTER (WHERE r.status IN ('failed', 'rolled_back', 'cancelled')) AS failed,
               count(*) FILTER (WHERE r.status IN ('pending', 'in_progress', 'verifying')) AS active
        FROM rotor.rotation r WHERE r.emergency = e.id) c;
COMMENT ON VIEW rotor.emergencies IS 'each rotate_all(): how many secrets are done and remain, the rate, the time that is left at that rate';

CREATE VIEW rotor.dead_letter AS
    SELECT r.id, s.name AS secret, s.username AS role, r.step, r.attempt, r.outcome, r.error_code,
           r.error_message, r.note, r.version_id, r.trigger, r.requested_by, r.queued_at, r.finished_at,
           CASE WHEN r.unsettled THEN 'it is not known what the target or the store has; who goes on looks first'
                WHEN r.step = 'retire' THEN 'what was in use before can still log in'
                WHEN r.step = 'test' THEN 'the new password is set and current, but was not proved'
                WHEN r.step IN ('finish', 'undo') THEN 'the role may not accept the current version'
                ELSE 'the role still has its former password' END AS state,
           format('SELECT rotor.requeue(%L)', r.id) AS remedy
    FROM rotor.rotation r JOIN rotor.secret s ON s.id = r.secret_id
    WHERE r.dead_letter AND s.deleted_at IS NULL;
COMMENT ON VIEW rotor.dead_letter IS 'rotations that gave up, with what is needed to act; a later success of the secret or requeue() takes them out';

CREATE VIEW rotor.audit_log AS
    SELECT id, at, actor, session_user_name, client_addr, event, secret, rotation, version, result, duration_ms,
           detail
    FROM rotor.audit;
COMMENT ON VIEW rotor.audit_log IS 'the audit, append-only: who, what, which secret, which rotation, from where, result';

CREATE VIEW rotor.upcoming AS
    SELECT s.name AS secret, s.username AS role, s.policy,
           coalesce(r.next_attempt_at, s.next_rotation) AS due_at,
           coalesce(r.next_attempt_at, s.next_rotation) < clock.now AS overdue, r.id AS rotation
    FROM rotor.secret s
    CROSS JOIN (SELECT coalesce(nullif(current_setting('rotor.test_clock', true), '')::timestamptz, now())) AS clock (now)
    JOIN pg_catalog.pg_control_system() c ON c.system_identifier = s.system_identifier
    LEFT JOIN rotor.rotation r ON r.secret_id = s.id AND r.status IN ('pending', 'in_progress', 'verifying')
    WHERE s.deleted_at IS NULL
      AND (r.id IS NOT NULL OR (s.enabled AND s.next_rotation IS NOT NULL));
COMMENT ON VIEW rotor.upcoming IS 'what is due when: scheduled, queued and waiting for another attempt';

CREATE VIEW rotor.coverage AS
    SELECT a.rolname AS role, s.name AS secret, s.id IS NOT NULL AS managed, a.rolsuper AS superuser,
           a.rolreplication AS replication,
           CASE WHEN a.rolpassword IS NULL THEN 'none'
                WHEN a.rolpassword LIKE 'SCRAM-SHA-256$%' THEN 'scram-sha-256'
                WHEN a.rolpassword ~ '^md5[0-9a-f]{32}$' THEN 'md5' ELSE 'unknown' END AS password_type,
           CASE WHEN a.rolpassword LIKE 'SCRAM-SHA-256$%'
                THEN substring(a.rolpassword FROM '^SCRAM-SHA-256\$([0-9]+):')::bigint END AS scram_iterations,
           a.rolvaliduntil AS valid_until, coalesce(a.rolvaliduntil <= now(), false) AS expired,
           now() - v.set_at AS password_age, v.verified_at, s.policy, p.rotation_interval,
           now() - v.set_at > p.rotation_interval AS overdue,
           -- A role that lost its password has another one than rotor gave it, too.
           CASE WHEN v.fingerprint IS NOT NULL
                THEN sha256(convert_to(a.rolpassword, 'UTF8')) IS NOT DISTINCT FROM v.fingerprint END AS in_sync
    FROM pg_catalog.pg_authid a
    CROSS JOIN pg_catalog.pg_control_system() c
    LEFT JOIN rotor.secret s ON s.role_oid = a.oid AND s.target = 'self' AND s.deleted_at IS NULL
        AND s.system_identifier = c.system_identifier
    LEFT JOIN rotor.policy p ON p.name = s.policy
    LEFT JOIN rotor.version v ON v.secret_id = s.id AND v.stage = 'current'
    WHERE a.rolcanlogin;
COMMENT ON VIEW rotor.coverage IS 'every login role of the cluster: managed or not, kind of verifier, password age against policy, expiry; in_sync: the role still has the verifier rotor gave it, null: rotor has given it none';

-- One row a role or secret, with all that is known of it; one array of what is wrong with it; one row a finding.
CREATE VIEW rotor.compliance AS
    SELECT b.role, b.secret, f.finding,
           CASE WHEN f.finding = 'expired' AND b.secret IS NULL OR f.finding = 'disabled' AND b.next_rotation IS NULL
                THEN 'info' ELSE k.severity END AS severity,
           CASE f.finding
                WHEN 'dead_letter' THEN b.died_at
                WHEN 'quarantined' THEN b.died_at
                WHEN 'changed_elsewhere' THEN b.superseded_at
                WHEN 'overdue' THEN b.due_at
                WHEN 'older_than_policy' THEN b.set_at + b.rotation_interval
                WHEN 'never_verified' THEN b.set_at
                WHEN 'never_expires' THEN b.set_at
                WHEN 'never_rotated' THEN b.created_at
                WHEN 'expired' THEN b.valid_until
                WHEN 'expires_soon' THEN b.valid_until - interval '7 days' END AS since,
           CASE WHEN f.finding IN ('expired', 'expires_soon') AND b.valid_until_margin IS NULL
                THEN format('ALTER ROLE %I VALID UNTIL ''infinity''', b.role)
                WHEN b.secret IS NULL THEN format('SELECT rotor.manage(%L)', b.role)
                WHEN f.finding = 'dead_letter' THEN format(k.remedy, b.dead_letter)
                WHEN f.finding = 'no_login' THEN format(k.remedy, b.role)
                ELSE format(k.remedy, coalesce(b.pair, b.secret)) END AS remedy
    FROM (
        SELECT coalesce(v.role, a.rolname, s.username)::text AS role, s.name AS secret, s.enabled, s.created_at, s.next_rotation,
               s.next_rotation = s.quarantined_until AS quarantined,
               s.system_identifier = c.system_identifier AS here, a.oid IS NOT NULL OR s.role_oid = 0 AS role_exists, a.rolcanlogin,
               v.password_type, v.valid_until, v.expired, v.in_sync, v.overdue AS too_old,
               p.rotation_interval, p.valid_until_margin, s.failures,
               p.jitter IS NOT NULL OR p.window_duration IS NOT NULL AS spread, w.set_at, w.verified_at, w.superseded_at,
               r.id IS NOT NULL AS rotating, coalesce(r.next_attempt_at, CASE WHEN s.enabled THEN s.next_rotation END) AS due_at,
               d.id AS dead_letter, d.finished_at AS died_at,
               o.name AS pair, o.resting = s.id AS rests, o.used_since IS NULL AS unused
        FROM rotor.coverage v
        FULL JOIN (SELECT * FROM rotor.secret WHERE deleted_at IS NULL) s ON s.name = v.secret
        CROSS JOIN pg_catalog.pg_control_system() c
        LEFT JOIN pg_catalog.pg_roles a ON a.oid = s.role_oid AND s.system_identifier = c.system_identifier
        LEFT JOIN rotor.policy p ON p.name = s.policy
        LEFT JOIN rotor.pair o ON s.id IN (o.in_use, o.resting)
        LEFT JOIN rotor.version w ON w.secret_id = s.id AND w.stage = 'current'
        LEFT JOIN rotor.rotation r ON r.secret_id = s.id AND r.status IN ('pending', 'in_progress', 'verifying')
        LEFT JOIN (SELECT DISTINCT ON (secret_id) secret_id, id, finished_at FROM rotor.rotation
                   WHERE dead_letter ORDER BY secret_id, finished_at DESC) d ON d.secret_id = s.id) b
    CROSS JOIN (SELECT coalesce(nullif(current_setting('rotor.test_clock', true), '')::timestamptz, now())) AS clock (now)
    CROSS JOIN LATERAL unnest(array_remove(CASE
        WHEN b.secret IS NULL THEN ARRAY[
            CASE WHEN b.password_type = 'none' THEN 'no_password' ELSE 'unmanaged' END,
            CASE WHEN b.password_type = 'md5' THEN 'md5_password' END,
            CASE WHEN b.password_type <> 'none' THEN
                CASE WHEN b.expired THEN 'expired'
                     WHEN b.valid_until < now() + interval '7 days' THEN 'expires_soon' END END]
        WHEN NOT b.here THEN ARRAY['other_cluster']
        WHEN NOT b.role_exists THEN ARRAY['no_role']
        ELSE ARRAY[
            CASE WHEN NOT b.rolcanlogin AND (b.pair IS NULL OR NOT (b.rests OR b.unused)) THEN 'no_login' END,
            CASE WHEN b.password_type = 'md5' THEN 'md5_password' END,
            CASE WHEN b.set_at IS NULL AND NOT b.rotating AND b.rests IS NOT true THEN 'never_rotated' END,
            CASE WHEN b.verified_at IS NULL AND b.set_at IS NOT NULL AND NOT b.rotating THEN 'never_verified' END,
            CASE WHEN b.in_sync = false AND NOT b.rotating THEN 'changed_elsewhere' END,
            -- Windows and jitter let the next rotation come later than the interval says.
            CASE WHEN b.too_old AND b.rests IS NOT true AND NOT (b.spread AND b.failures = 0 AND coalesce(b.due_at > clock.now, false))
                THEN 'older_than_policy' END,
            CASE WHEN b.due_at < clock.now - interval '1 minute' THEN 'overdue' END,
            CASE WHEN NOT b.enabled THEN 'disabled' WHEN b.quarantined THEN 'quarantined' END,
            CASE WHEN b.dead_letter IS NOT NULL THEN 'dead_letter' END,
            CASE WHEN b.expired THEN 'expired'
                 -- A rotation that comes before the end, and moves it, is how it is meant.
                 WHEN b.valid_until < now() + interval '7 days'
                      AND NOT coalesce(b.valid_until_margin IS NOT NULL AND b.due_at < b.valid_until, false)
                     THEN 'expires_soon'
                 WHEN b.valid_until_margin IS NOT NULL AND b.set_at IS NOT NULL
                      AND coalesce(b.valid_until, 'infinity') = 'infinity' THEN 'never_expires' END]
        END, NULL)) f(finding)
    JOIN (VALUES
        ('unmanaged', 'warning', NULL),
        ('no_password', 'info', NULL),
        ('md5_password', 'warning', 'SELECT rotor.rotate(%L)'),
        ('never_rotated', 'warning', 'SELECT rotor.rotate(%L)'),
        ('never_verified', 'warning', 'SELECT rotor.rotate(%L)'),
        ('changed_elsewhere', 'warning', 'SELECT rotor.rotate(%L)'),
        ('older_than_policy', 'warning', 'SELECT rotor.rotate(%L)'),
        ('overdue', 'warning', 'SELECT rotor.run_due()'),
        ('disabled', 'warning', 'SELECT rotor.enable(%L)'),
        ('quarantined', 'warning', 'SELECT rotor.rotate(%L)'),
        ('dead_letter', 'error', 'SELECT rotor.requeue(%L)'),
        ('expired', 'error', 'SELECT rotor.rotate(%L)'),
        ('expires_soon', 'warning', 'SELECT rotor.rotate(%L)'),
        ('never_expires', 'warning', 'SELECT rotor.rotate(%L)'),
        ('no_login', 'warning', 'ALTER ROLE %I LOGIN'),
        ('no_role', 'warning', 'SELECT rotor.unmanage(%L)'),
        ('other_cluster', 'error', 'SELECT rotor.reconcile(%L)')) k(finding, severity, remedy) ON k.finding = f.finding;
COMMENT ON VIEW rotor.compliance IS 'one row a finding about a login role or a secret: what, how bad, since when (null: not known), and the statement that mends it';

CREATE FUNCTION rotor.statistics() RETURNS jsonb
    LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT jsonb_build_object(
        'since', s.at,
        'total', count(r.id),
        'successes', count(*) FILTER (WHERE r.status = 'success'),
        'failures', count(*) FILTER (WHERE r.status = 'failed'),
        'rollbacks', count(*) FILTER (WHERE r.status = 'rolled_back'),
        'cancelled', count(*) FILTER (WHERE r.status = 'cancelled'),
        'success_rate', round(count(*) FILTER (WHERE r.status = 'success')::numeric
            / nullif(count(*) FILTER (WHERE r.status IN ('success', 'failed', 'rolled_back')), 0), 4),
        'duration_ms', jsonb_build_object(
            'average', avg(extract(epoch FROM r.duration) * 1000) FILTER (WHERE r.status = 'success'),
            'p50', percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM r.duration) * 1000)
                FILTER (WHERE r.status = 'success'),
            'p95', percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM r.duration) * 1000)
                FILTER (WHERE r.status = 'success'),
            'max', max(extract(epoch FROM r.duration) * 1000) FILTER (WHERE r.status = 'success')),
        'active_rotations', (SELECT count(*) FROM rotor.rotation a
            WHERE a.status IN ('pending', 'in_progress', 'verifying')),
        'dead_letters', (SELECT count(*) FROM rotor.dead_letter),
        'active_schedules', (SELECT count(*) FROM rotor.secret c
            WHERE c.enabled AND c.deleted_at IS NULL AND c.next_rotation IS NOT NULL))
    FROM rotor.statistics_reset s
    LEFT JOIN rotor.rotation r ON r.queued_at >= s.at
    GROUP BY s.at
$$;
COMMENT ON FUNCTION rotor.statistics() IS
    'totals, successes, failures, rollbacks, success rate, durations in milliseconds, active rotations and schedules since reset_statistics()';

-- sql/guards.sql

-- What keeps the tables honest, and who may call what.

CREATE FUNCTION rotor.guard_configuration() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_guard_configuration';
COMMENT ON FUNCTION rotor.guard_configuration() IS
    'lets superusers only write policy, store and target, refuses contradictory settings, audits the change';

CREATE FUNCTION rotor.guard_audit() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_guard_audit';
COMMENT ON FUNCTION rotor.guard_audit() IS 'refuses UPDATE, DELETE and TRUNCATE of the audit';

CREATE FUNCTION rotor.guard_restored() RETURNS trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_guard_restored';
COMMENT ON FUNCTION rotor.guard_restored() IS 'lets secrets that a dump brings back rest until reconcile()';

CREATE FUNCTION rotor.guard_drop() RETURNS event_trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_guard_drop';
COMMENT ON FUNCTION rotor.guard_drop() IS 'warns of what DROP EXTENSION rotor forgets';

CREATE EVENT TRIGGER rotor_guard_drop ON ddl_command_start WHEN TAG IN ('DROP EXTENSION', 'DROP OWNED')
    EXECUTE FUNCTION rotor.guard_drop();
COMMENT ON EVENT TRIGGER rotor_guard_drop IS 'warns of what DROP EXTENSION rotor forgets';

CREATE FUNCTION rotor.guard_update() RETURNS event_trigger
    LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_guard_update';
COMMENT ON FUNCTION rotor.guard_update() IS
    'lets ALTER EXTENSION rotor UPDATE go no further than the library that is loaded, and tells all sessions';

CREATE EVENT TRIGGER rotor_guard_update ON ddl_command_end WHEN TAG IN ('ALTER EXTENSION')
    EXECUTE FUNCTION rotor.guard_update();
COMMENT ON EVENT TRIGGER rotor_guard_update IS 'keeps the versions of extension and library together';

CREATE FUNCTION rotor.make_audit_partitions() RETURNS int
    LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'rotor_make_audit_partitions';
COMMENT ON FUNCTION rotor.make_audit_partitions() IS
    'makes the partitions of the audit for this month and the next two, where they are missing, and returns how many; workers do it by themselves; superusers only';

CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON rotor.policy
    FOR EACH ROW EXECUTE FUNCTION rotor.guard_configuration();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON rotor.policy
    FOR EACH STATEMENT EXECUTE FUNCTION rotor.guard_configuration();
CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON rotor.store
    FOR EACH ROW EXECUTE FUNCTION rotor.guard_configuration();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON rotor.store
    FOR EACH STATEMENT EXECUTE FUNCTION rotor.guard_configuration();
CREATE TRIGGER guard_row BEFORE INSERT OR UPDATE OR DELETE ON rotor.target
    FOR EACH ROW EXECUTE FUNCTION rotor.guard_configuration();
CREATE TRIGGER guard_truncate BEFORE TRUNCATE ON rotor.target
    FOR EACH STATEMENT EXECUTE FUNCTION rotor.guard_configuration();
CREATE TRIGGER guard_restored BEFORE INSERT ON rotor.secret
    FOR EACH ROW EXECUTE FUNCTION rotor.guard_restored();
CREATE TRIGGER guard_change BEFORE UPDATE OR DELETE OR TRUNCATE ON rotor.audit
    FOR EACH STATEMENT EXECUTE FUNCTION rotor.guard_audit();
CREATE TRIGGER guard_change BEFORE UPDATE OR DELETE OR TRUNCATE ON rotor.audit_default
    FOR EACH STATEMENT EXECUTE FUNCTION rotor.guard_audit();

-- ALWAYS: session_replication_role = replica does not switch them off.
ALTER TABLE rotor.policy ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE rotor.policy ENABLE ALWAYS TRIGGER guard_truncate;
ALTER TABLE rotor.store ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE rotor.store ENABLE ALWAYS TRIGGER guard_truncate;
ALTER TABLE rotor.target ENABLE ALWAYS TRIGGER guard_row;
ALTER TABLE rotor.target ENABLE ALWAYS TRIGGER guard_truncate;
ALTER TABLE rotor.secret ENABLE ALWAYS TRIGGER guard_restored;
ALTER TABLE rotor.audit ENABLE ALWAYS TRIGGER guard_change;
ALTER TABLE rotor.audit_default ENABLE ALWAYS TRIGGER guard_change;
SELECT rotor.make_audit_partitions();

-- Configuration travels in a dump. Values (sealed), keys (wrapped) and history do on request only:
-- PGOPTIONS='-c rotor.dump_values=on' pg_dump ...
SELECT pg_catalog.pg_extension_config_dump('rotor.policy', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('rotor.target', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('rotor.store', 'WHERE NOT builtin');
SELECT pg_catalog.pg_extension_config_dump('rotor.secret', '');
SELECT pg_catalog.pg_extension_config_dump('rotor.secret_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rotor.pair', '');
SELECT pg_catalog.pg_extension_config_dump('rotor.access_grant', '');
SELECT pg_catalog.pg_extension_config_dump('rotor.data_key',
    $$WHERE coalesce(nullif(pg_catalog.current_setting('rotor.dump_values', true), ''), 'off')::boolean$$);
SELECT pg_catalog.pg_extension_config_dump('rotor.version',
    $$WHERE coalesce(nullif(pg_catalog.current_setting('rotor.dump_values', true), ''), 'off')::boolean$$);
SELECT pg_catalog.pg_extension_config_dump('rotor.rotation',
    $$WHERE coalesce(nullif(pg_catalog.current_setting('rotor.dump_values', true), ''), 'off')::boolean$$);
SELECT pg_catalog.pg_extension_config_dump('rotor.saved_verifier',
    $$WHERE coalesce(nullif(pg_catalog.current_setting('rotor.dump_values', true), ''), 'off')::boolean$$);

REVOKE ALL ON SCHEMA rotor FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA rotor FROM PUBLIC;
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA rotor FROM PUBLIC;
