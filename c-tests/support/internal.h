/* Shared between the files of the support library only. */
#ifndef SUPPORT_INTERNAL_H
#define SUPPORT_INTERNAL_H

#include "support.h"

/* A test that runs longer than this has hung: 20, or C_TESTS_HANG_SECONDS. */
int hang_seconds(void);

void checks_are_in_child(void);
void last_check(const char **file, int *line);
/* First thing in any forked child: dies with its parent, and of a hang. */
void become_child(void);
/* Closes every descriptor above standard error that is not one of these. */
void close_descriptors(const int *keep, size_t count);

/* Bytes this process has sent through the ring; -1 without the library. */
long ring_bytes(void);

#endif
