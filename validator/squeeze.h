#ifndef BPFCOMPAT_SQUEEZE_H
#define BPFCOMPAT_SQUEEZE_H

#include "report.h"

/* A log of any length: as text when it is short, else deflated. See wire.md. */
void json_log(struct json *json, const char *key, struct text text);

#endif
