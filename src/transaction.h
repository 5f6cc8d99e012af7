/*
 * transaction.h - a worker's transactions. Used by rotation*.c for steps, by bgworker.c and others else.
 */
#ifndef ROTOR_TRANSACTION_H
#define ROTOR_TRANSACTION_H

#include "report.h"

/*
 * Runs work(arg) in a transaction of its own, within SPI, with a snapshot, and commits. False, with
 * everything undone and *failure filled, if it raises an error; plain, if not NULL, is a value that
 * must not appear in it. What work allocates in the caller's context stays.
 */
extern bool
transaction_run(void (*work)(void *arg), void *arg, const SecretBuf *plain, Failure *failure);

/*
 * The same as a part of the transaction that is open: only this part is undone if it fails, so that
 * one rotation of a batch fails alone.
 */
extern bool
subtransaction_run(void (*work)(void *arg), void *arg, const SecretBuf *plain, Failure *failure);

/*
 * For how long the transactions that follow wait for a lock: SHARED_LOCK_TIMEOUT_MS at most where others
 * would wait too, else rotor.lock_timeout. Outside of any transaction.
 */
#define SHARED_LOCK_TIMEOUT_MS 250
extern void transaction_set_lock_timeout(int ms);

#endif
