/*
 * functions_observe.c - transitions(): the table of fsm.c as rows.
 */
#include "postgres.h"

#include "compat.h"
#include "fsm.h"
#include "funcapi.h"
#include "functions.h"
#include "utils/builtins.h"

ROTOR_FUNCTION(rotor_transitions);

Datum
rotor_transitions(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *set = (ReturnSetInfo *) fcinfo->resultinfo;
	const FsmTransition *row;

	InitMaterializedSRF(fcinfo, 0);
	for (size_t i = 0; (row = fsm_row(i)) != NULL; i++)
	{
		Datum values[] = {
			CStringGetTextDatum(fsm_step_name(row->step)),
			CStringGetTextDatum(fsm_outcome_name(row->outcome)),
			CStringGetTextDatum(fsm_step_name(row->next)),
			CStringGetTextDatum(fsm_status_name(row->status)),
			CStringGetTextDatum(row->event),
			BoolGetDatum(row->retry),
			BoolGetDatum(row->dead_letter),
			CStringGetTextDatum(fsm_live_name(row->live)),
			CStringGetTextDatum(row->meaning),
		};
		bool nulls[lengthof(values)] = {false};

		tuplestore_putvalues(set->setResult, set->setDesc, values, nulls);
	}
	return (Datum) 0;
}
