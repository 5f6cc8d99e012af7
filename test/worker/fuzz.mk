# Fuzzing of the worker: each fuzz_*.c is a libFuzzer program, as in test/fuzz, whose Makefile this one takes after.
#
#   make -f fuzz.mk run                  replays each target's corpus/, then looks for new paths, FUZZ_SECONDS for each
#   make -f fuzz.mk run TARGETS="job"    one of them
#   make -f fuzz.mk corpus-job           writes the corpus of job anew, as small as it may be, with what build/ has found
#
# The output is TAP: a line for each target, with executions and coverage. An input that breaks a target is in
# build/fuzz/findings/; it belongs into corpus/ once the defect is mended.

FUZZ_CC ?= clang-14
FUZZ_SECONDS ?= 10
FUZZ_SEED ?= 1
BUILD = build/fuzz
TOP = ../..
WORKER = $(TOP)/worker
COMMON = $(TOP)/common

include $(WORKER)/sources.mk

# What a target needs besides, by its name; what it defines itself is not taken from the library.
EXTRA_secret_json = job_of.c
EXTRA_vault = job_of.c
ALL_TARGETS = $(patsubst fuzz_%.c,%,$(sort $(wildcard fuzz_*.c)))
TARGETS ?= $(ALL_TARGETS)

ROTOR_VERSION := $(shell sed -n "s/^default_version = '\(.*\)'/\1/p" $(TOP)/rotor.control)

SANITIZE = -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
ALL_CFLAGS = -std=gnu11 -D_GNU_SOURCE $(WORKER_WARNINGS) -O1 -g -MMD -MP -pthread $(SANITIZE) \
	-DROTOR_VERSION='"$(ROTOR_VERSION)"' -iquote $(COMMON) -iquote $(WORKER) -iquote $(TOP)/test/fuzz $(WORKER_CPPFLAGS)

LIBRARY = $(BUILD)/worker.a
LIBRARY_OBJECTS = $(patsubst %.c,$(BUILD)/worker_%.o,$(WORKER_SOURCES)) $(patsubst %.c,$(BUILD)/common_%.o,$(WORKER_COMMON))
PROGRAMS = $(ALL_TARGETS:%=$(BUILD)/fuzz_%)

# An input that takes longer than this has hung, in seconds.
HANGS = 10
FUZZ = -seed=$(FUZZ_SEED) -timeout=$(HANGS) -artifact_prefix=$(BUILD)/findings/ -print_final_stats=1 -verbosity=1

.PHONY: all run clean FORCE
all: $(PROGRAMS)

run: $(TARGETS:%=run-%)

# What a run says last: how much it did, in a line of TAP; all of it if it ended badly.
report = awk -v name=$* -v status=$$status ' \
	{ text = text $$0 "\n" } \
	/ cov: / { for (i = 1; i < NF; i++) if ($$i == "cov:") coverage = $$(i + 1) } \
	/^stat::number_of_executed_units:/ { runs = $$2 } \
	END { if (status != 0 || runs < 1) printf "%snot ok - %s\n", text, name; \
	      else printf "ok - %s: %d executions, %d edges covered\n", name, runs, coverage; \
	      exit !(status == 0 && runs >= 1) }'

.PHONY: $(ALL_TARGETS:%=run-%)
$(ALL_TARGETS:%=run-%): run-%: $(BUILD)/fuzz_%
	@mkdir -p $(BUILD)/found/$* $(BUILD)/findings
	@status=0; $< $(FUZZ) -max_total_time=$(FUZZ_SECONDS) $(BUILD)/found/$* corpus/$* >$<.log 2>&1 || status=$$?; \
		$(report) $<.log

# Files are named by what libFuzzer calls them, so that the same input has the same name.
.PHONY: $(ALL_TARGETS:%=corpus-%)
$(ALL_TARGETS:%=corpus-%): corpus-%: $(BUILD)/fuzz_%
	@rm -rf $(BUILD)/merged && mkdir -p $(BUILD)/merged $(BUILD)/found/$* corpus/$*
	@$< -merge=1 $(BUILD)/merged corpus/$* $(BUILD)/found/$* >$<.log 2>&1 || { cat $<.log; exit 1; }
	@rm -rf corpus/$* && mv $(BUILD)/merged corpus/$*

clean:
	rm -rf $(BUILD)

# Another compiler or other flags: everything anew.
FORCE:
$(BUILD)/flags: FORCE
	@mkdir -p $(BUILD)
	@printf '%s\n' '$(subst ','\'',$(FUZZ_CC) $(ALL_CFLAGS))' >$@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi

$(BUILD)/common_%.o: $(COMMON)/%.c $(BUILD)/flags
	@$(FUZZ_CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/worker_%.o: $(WORKER)/%.c $(BUILD)/flags
	@$(FUZZ_CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/shared.o: $(TOP)/test/fuzz/fuzz.c $(BUILD)/flags
	@$(FUZZ_CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/%.o: %.c $(BUILD)/flags
	@$(FUZZ_CC) $(ALL_CFLAGS) -c -o $@ $<

$(LIBRARY): $(LIBRARY_OBJECTS)
	@rm -f $@
	@$(AR) rcs $@ $^

.SECONDEXPANSION:
$(PROGRAMS): $(BUILD)/fuzz_%: $(BUILD)/fuzz_%.o $(BUILD)/shared.o $$(addprefix $(BUILD)/,$$(EXTRA_$$*:.c=.o)) $(LIBRARY)
	@$(FUZZ_CC) $(ALL_CFLAGS) -o $@ $(filter %.o %.a,$^) $(WORKER_LIBS)

.SECONDARY:
-include $(wildcard $(BUILD)/*.d)
