-- Creates a database for each service, its owner role (migrations) and its runtime role (processes), with passwords from
-- the environment. Safe to run again at any time; it also changes passwords.
\set ON_ERROR_STOP on
\getenv signup_owner_password SIGNUP_OWNER_PASSWORD
\getenv signup_app_password SIGNUP_APP_PASSWORD
\getenv mail_owner_password MAIL_OWNER_PASSWORD
\getenv mail_app_password MAIL_APP_PASSWORD

SELECT format('CREATE ROLE %I LOGIN', role)
FROM unnest(ARRAY['signup_owner', 'signup_app', 'mail_owner', 'mail_app']) AS role
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role)
\gexec

ALTER ROLE signup_owner PASSWORD :'signup_owner_password';
ALTER ROLE signup_app PASSWORD :'signup_app_password';
ALTER ROLE mail_owner PASSWORD :'mail_owner_password';
ALTER ROLE mail_app PASSWORD :'mail_app_password';

-- The mail service names the transaction that holds back its change feed, in any database, and since when it is open.
GRANT pg_read_all_stats TO mail_owner;

SELECT format('CREATE DATABASE %I OWNER %I', name, name || '_owner')
FROM unnest(ARRAY['signup', 'mail']) AS name
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name)
\gexec

-- No other role may connect, and only the owner creates tables.
REVOKE ALL ON DATABASE signup, mail FROM PUBLIC;
GRANT CONNECT ON DATABASE signup TO signup_app;
GRANT CONNECT ON DATABASE mail TO mail_app;

\connect signup
ALTER SCHEMA public OWNER TO signup_owner;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO signup_app;

\connect mail
ALTER SCHEMA public OWNER TO mail_owner;
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO mail_app;
