/*
 * json_splice.h - changes members of a JSON object's text and leaves every other byte as it is.
 *
 * A secret at a store may hold more than rotor knows. Printed anew from a tree, numbers beyond 53 bits would
 * be others, and members that stand there twice would be one.
 */
#ifndef ROTOR_WORKER_JSON_SPLICE_H
#define ROTOR_WORKER_JSON_SPLICE_H

#include <cjson/cJSON.h>

#include "error.h"

/*
 * The text of an object, with each member of the object set having that value, and each member of the object
 * fill having it where the text has no such member; fill may be NULL. What is added stands at the end.
 * NULL, with *err, if text is no JSON object (FORMAT) or memory ran out (SPACE). The result holds secrets if the arguments do: cJSON_free(),
 * which wipes, gives it back.
 */
extern char *json_splice(const char *text, const cJSON *set, const cJSON *fill, RotorError *err);

#endif
