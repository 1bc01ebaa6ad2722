# Needs python3, python3-dev, python3-venv and build-essential; the rest is installed into $(VENV), for the interpreter
# PYTHON.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -q

CORE_C := $(wildcard csrc/*/*.c)
CORE_H := $(wildcard csrc/*.h csrc/*/*.h)
SKIN := $(wildcard src/ringipc/*.pyx src/ringipc/core/*.pxi)
BUILD ?= build/c
PATIENCE ?= 180
RUN ?= # the emulator that runs the test programs, if they are for another processor
SECONDS ?= 60
CTESTS := $(patsubst tests/c/%.c,$(BUILD)/%,$(filter-out tests/c/$(LEFT_OUT).c,$(wildcard tests/c/*.c)))
CORE_O := $(CORE_C:csrc/%.c=$(BUILD)/core/%.o)
LINT_C := $(wildcard $(foreach d,csrc csrc/* tests/c tests/fuzz benchmarks/limits examples,$(d)/*.c $(d)/*.h))
LINT_PY := src $(wildcard tests benchmarks examples/*.py)

comma := ,
CSTRICT := -std=c11 -Wall -Wextra -Wpedantic -Wconversion -Werror -D_GNU_SOURCE
CFLAGS ?= -O2 -g

PYTHONS ?= $(wildcard $(HOME)/.pyenv/versions/3.1[1-9].*/bin/python3) # for stdlib-mp

.PHONY: demo test lint bench stdlib-mp stdlib-mp-here ctest aarch64 sanitize fuzz fuzz-hostile fuzz-stream clean \
    $(CTESTS:=.passes)
.DELETE_ON_ERROR:
.SECONDARY:

demo: $(VENV)/.demo $(VENV)/.built
	$(BIN)/ringipc demo

test: ctest $(VENV)/.dev $(VENV)/.built
	$(BIN)/python -m pytest -q

lint: $(VENV)/.dev $(VENV)/.built $(CORE_O)
	$(BIN)/python tests/layers.py $(BUILD)/core
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict $(LINT_PY)
	$(BIN)/python tests/recipes.py build/recipes  # the programs of docs/recipes.md, as files
	$(BIN)/ruff check --no-respect-gitignore build/recipes/*.py
	$(BIN)/ruff format --check --no-respect-gitignore build/recipes/*.py
	$(BIN)/mypy --strict --allow-untyped-calls build/recipes/*.py  # torch has functions without types
	$(BIN)/python -m mypy.stubtest --ignore-disjoint-bases --allowlist tests/stubtest.txt ringipc._core
	PATH="$(abspath $(BIN)):$$PATH" cython-lint src  # it calls pycodestyle by name
	$(BIN)/clang-format --dry-run -Werror $(LINT_C)
	printf '%s\n' $(CORE_C) | xargs -P "$$(nproc)" -I FILE $(BIN)/clang-tidy --quiet FILE -- -std=c11 -D_GNU_SOURCE -Icsrc
	$(BIN)/cppcheck --quiet -j "$$(nproc)" --std=c11 --enable=warning,performance,portability --inline-suppr --error-exitcode=1 \
	    -D_GNU_SOURCE -D__linux__ -Icsrc csrc

bench: $(VENV)/.bench $(VENV)/.built
	$(BIN)/python -m benchmarks

# The standard library's own tests of multiprocessing, and of process pools, with each interpreter of PYTHONS.
stdlib-mp:
	@for python in $(PYTHONS); do \
	    version=$$($$python -c 'import sys; print("%d.%d" % sys.version_info[:2])'); echo "Python $$version"; \
	    $(MAKE) --no-print-directory stdlib-mp-here PYTHON=$$python VENV=build/venv-$$version || exit 1; \
	done

stdlib-mp-here: $(VENV)/.dev $(VENV)/.built
	$(BIN)/python -m pytest -q -m long tests/test_stdlib_mp.py tests/test_executor.py

ctest: $(CTESTS:=.passes)

$(CTESTS:=.passes): %.passes: %
	timeout $(PATIENCE) $(RUN) $<

# The C tests as 64-bit ARM instructions, in an emulator: needs Debian's gcc-aarch64-linux-gnu and qemu-user.
aarch64:
	$(MAKE) --no-print-directory ctest BUILD=build/aarch64 PATIENCE=300 CC=aarch64-linux-gnu-gcc \
	    RUN="qemu-aarch64 -E EMULATED=1 -L /usr/aarch64-linux-gnu"

# The C tests under AddressSanitizer and UBSan, and the one with threads under ThreadSanitizer. Running a process one
# instruction at a time is slow under a sanitizer, so these tests run for named channels only. ThreadSanitizer knows no
# fences, about which gcc warns (-Wno-tsan).
sanitize:
	$(MAKE) --no-print-directory ctest BUILD=build/asan PATIENCE=300 LEFT_OUT=kills_nameless \
	    CFLAGS="-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all"
	$(MAKE) --no-print-directory build/tsan/hunt BUILD=build/tsan CFLAGS="-O1 -g -fsanitize=thread -Wno-tsan"
	build/tsan/hunt

# Fuzz damaged memory and invalid frames, for SECONDS each. A later run continues from the corpus, which is kept in
# build/fuzz/corpus and corpus-stream. Needs clang. hostile.c says why the calls in WRAP are wrapped.
FUZZ = -max_total_time=$(SECONDS) -timeout=10 -max_len=192 -len_control=0 -print_final_stats=1 -artifact_prefix=build/fuzz/
AGAIN = || { echo "to repeat: $< FILE (the file written above)"; exit 1; }

fuzz: fuzz-hostile fuzz-stream

fuzz-hostile: build/fuzz/hostile
	@mkdir -p build/fuzz/corpus
	$< $(FUZZ) build/fuzz/corpus $(AGAIN)

fuzz-stream: build/fuzz/stream
	@mkdir -p build/fuzz/corpus-stream
	$< $(FUZZ) build/fuzz/corpus-stream $(AGAIN)

# Lanes allocate their memory page by page, and all claims count as large. With the normal limits no lane of the fuzzer
# would be large enough to allocate in several steps, or to allocate its claims without the lock.
build/fuzz/hostile: WRAP := $(foreach call,mmap munmap fcntl close syscall,-Wl$(comma)--wrap=$(call)) \
    -DRIP_STEP=4096u -DRIP_CLAIMS_AT_ONCE=1u
build/fuzz/%: tests/fuzz/%.c tests/fuzz/input.h $(CORE_C) $(CORE_H) Makefile
	@mkdir -p $(@D)
	clang $(CSTRICT) -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -pthread -Icsrc $(WRAP) \
	    -o $@ $< $(CORE_C)

# One program for each test file, linked with the whole core.
$(BUILD)/%: $(BUILD)/%.o $(CORE_O)
	$(CC) $(CFLAGS) -pthread -o $@ $^

$(BUILD)/%.o: tests/c/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CSTRICT) $(CFLAGS) -pthread -MMD -MP -Icsrc -c -o $@ $<

$(BUILD)/core/%.o: csrc/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CSTRICT) $(CFLAGS) -pthread -MMD -MP -Icsrc -c -o $@ $<

-include $(wildcard $(BUILD)/*.d $(BUILD)/core/*/*.d)

# Stamps. The lists of packages are read from pyproject.toml, the only file that has them.
LIST := import sys, tomllib; t = tomllib.load(open("pyproject.toml", "rb")); \
        print("\n".join(t["build-system"]["requires"] + t["project"]["dependencies"] if sys.argv[1] == "build" \
        else t["project"]["optional-dependencies"][sys.argv[1]]))

$(VENV)/.made: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -c '$(LIST)' build > $(VENV)/build.txt
	$(PIP) install -r $(VENV)/build.txt
	@touch $@

$(VENV)/.demo $(VENV)/.bench $(VENV)/.dev: $(VENV)/.%: $(VENV)/.made
	$(BIN)/python -c '$(LIST)' $* > $(VENV)/$*.txt
	$(PIP) install -r $(VENV)/$*.txt
	@touch $@

# The installation is editable: only a change of the compiled module needs a rebuild.
$(VENV)/.built: setup.py $(SKIN) $(CORE_C) $(CORE_H) $(VENV)/.made
	$(PIP) install --no-build-isolation -e .
	@touch $@

clean:
	rm -rf build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f src/ringipc/_*.so $(VENV)/.built ringipc-demo.png
	find $(wildcard src tests benchmarks examples) -name __pycache__ -prune -exec rm -rf {} +
