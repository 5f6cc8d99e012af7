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
