/*
 * outside.h - a worker's part in what others do to managed roles: it sees to the events that
 * sessions of all databases have left (watch.h), and compares all secrets with their roles where
 * nobody was there to notice: at the start of the server, and so after a promotion, a restore or a
 * crash; when events were lost; and with each round of maintenance.
 */
#ifndef ROTOR_OUTSIDE_H
#define ROTOR_OUTSIDE_H

/* The timeline that the server writes, as rotor.home remembers it: another one since a promotion or
 * a restore. */
#define OUTSIDE_TIMELINE                                                                  \
	"('x' || substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), " \
	"1, 8))::bit(32)::int"

/*
 * Sees to some events, compares some secrets: transactions of its own, outside of any. here: the
 * extension is. True if there is more to do; a failure goes to the log and waits for the next turn.
 */
extern bool outside_turn(bool here);

#endif
