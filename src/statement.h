/*
 * statement.h - rotor's look at everybody's utility statements: one ProcessUtility hook.
 *
 * It makes room where a statement needs the home database to be empty, and notices what is done to
 * managed roles (watch.h). For all other statements it costs a look at the kind of node.
 */
#ifndef ROTOR_STATEMENT_H
#define ROTOR_STATEMENT_H

/* From _PG_init when preloading. */
extern void statement_install_hook(void);

#endif
