# A thin front for CMake: `make run` and `make test` do all that a fresh machine needs.

PREFIX ?= /usr/local
FUZZ_RUNS ?= 10000000
STRESS_SECONDS ?= 600
JOBS := $(shell nproc 2>/dev/null || echo 2)
# A newer compiler's new warning shall not stop a user's build; in CI it shall.
WERROR := $(if $(filter true,$(CI)),ON,OFF)
# There is a GPU backend where there is a compiler for it; in CI that is the business of `make cuda` alone.
CUDA := $(if $(filter true,$(CI)),OFF,AUTO)

# At once, not after a build: tests that are skipped prove nothing.
ifeq ($(CI)$(REDLINE_TEST_DATA),true)
ifneq ($(filter test check asan asan-long tsan cuda,$(MAKECMDGOALS)),)
$(error In CI, REDLINE_TEST_DATA must name the folder of reference data)
endif
endif

.PHONY: build run install test check asan asan-long cuda tsan stress fuzz kcheck browser tidy setup clean

build: setup
	@cmake --preset release -DREDLINE_WERROR=$(WERROR) -DREDLINE_CUDA=$(CUDA) >/dev/null
	@cmake --build build -j $(JOBS)

# The program alone: tests take longer to build than it does.
run: setup
	@cmake --preset release -DREDLINE_WERROR=$(WERROR) -DREDLINE_CUDA=$(CUDA) >/dev/null
	@cmake --build build -j $(JOBS) --target redline
	build/redline run </dev/null # in a script, standard input may be the script

# Into DESTDIR/PREFIX: the program, libredline.a, headers, redline.pc, the demo model.
install: setup
	@cmake --preset release -DREDLINE_WERROR=$(WERROR) -DREDLINE_CUDA=$(CUDA) -DCMAKE_INSTALL_PREFIX=$(PREFIX) >/dev/null
	@cmake --build build -j $(JOBS)
	@DESTDIR=$(DESTDIR) cmake --install build

# What the tests of a build folder left out, and why.
skipped = awk '/^[0-9]+\/[0-9]+ Test: /{program = $$3} / is not set: /{print "Skipped: " program ": " $$0} \
	/^\[  SKIPPED \] [a-z0-9_]+$$/ && !said[program $$4]++ {print "Skipped: " program ": " $$4}' \
	$(1)/Testing/Temporary/LastTest.log

# All tests: as they are, and under address and undefined-behaviour sanitizers.
test: check asan
	@$(call skipped,build)
ifndef REDLINE_TEST_DATA
	@echo "Skipped: what needs the reference data (reference logits, texts, vocabularies); REDLINE_TEST_DATA is not set."
endif

check: build
	ctest --test-dir build --output-on-failure -j $(JOBS)

asan: setup
	@cmake --preset asan >/dev/null
	@cmake --build build-asan -j $(JOBS)
	ASAN_OPTIONS=detect_leaks=1 ctest --test-dir build-asan --output-on-failure -j $(JOBS) -LE long

# What takes minutes with sanitizers: the simulated GPU, models in every placement, the quality of models.
asan-long: setup
	@cmake --preset asan >/dev/null
	@cmake --build build-asan -j $(JOBS)
	ASAN_OPTIONS=detect_leaks=1 ctest --test-dir build-asan --output-on-failure -j $(JOBS) -L long

# All tests with the GPU backend, wherever this runs: where no CUDA compiler is found, one is fetched into the build folder.
# Without a card that answers, what needs one is skipped and says so.
cuda: setup
	@tools/setup --cuda build-cuda/toolkit
	@cmake --preset cuda -DREDLINE_WERROR=$(WERROR) >/dev/null
	@cmake --build build-cuda -j $(JOBS)
	ctest --test-dir build-cuda --output-on-failure -j $(JOBS)
	@$(call skipped,build-cuda)

# The tests that run threads, under the thread sanitizer.
tsan: setup
	@cmake --preset tsan >/dev/null
	@cmake --build build-tsan -j $(JOBS)
	ctest --test-dir build-tsan --output-on-failure -L threads

# Many requests at once, over and over, under the thread sanitizer and then under the address sanitizer.
stress: setup
	@cmake --preset tsan >/dev/null && cmake --build build-tsan -j $(JOBS) --target test_requests
	@cmake --preset asan >/dev/null && cmake --build build-asan -j $(JOBS) --target test_requests
	REDLINE_STRESS_SECONDS=$(STRESS_SECONDS) build-tsan/tests/test_requests
	REDLINE_STRESS_SECONDS=$(STRESS_SECONDS) ASAN_OPTIONS=detect_leaks=1 build-asan/tests/test_requests

# Needs clang with its fuzzer runtime; works on a copy of the corpus.
fuzz: setup
	@cmake --preset fuzz >/dev/null
	@cmake --build build-fuzz -j $(JOBS) --target fuzz_gguf
	@rm -rf build-fuzz/corpus && cp -r tests/fuzz/corpus/gguf build-fuzz/corpus
	build-fuzz/tests/fuzz/fuzz_gguf -runs=$(FUZZ_RUNS) -max_len=4096 -print_final_stats=1 -verbosity=0 \
		-dict=tests/fuzz/gguf.dict -artifact_prefix=build-fuzz/ build-fuzz/corpus

kcheck: build
	build/kcheck --bench

# The pages of reports as a browser shows them; installs Chromium where there is none.
browser: build
	@tools/setup --browser
	tests/browser/pages.sh build/redline .

tidy: setup
	@tools/tidy

setup:
	@tools/setup

clean:
	rm -rf build build-cuda build-asan build-tsan build-fuzz
