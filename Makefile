# The commands of the README. LAB=name gives another lab than knarr-lab.
LAB ?= knarr-lab
CARGO ?= $(or $(shell command -v cargo),$(HOME)/.cargo/bin/cargo)
TARGET := $(or $(CARGO_TARGET_DIR),target)
FILES := $(if $(filter knarr-lab,$(LAB)),target/lab,target/lab-$(LAB))
LAUNCHER = $(TARGET)/release/lab --name $(LAB) --knarr $(TARGET)/release/knarr --files $(FILES)
# A lab outlives the programs that were built for it.
AS_LEFT = if [ -e /var/lib/$(LAB) ] && [ ! -x $(TARGET)/release/lab ]; then $(MAKE) --no-print-directory build; fi

.PHONY: run stop reset test test-long test-vm build dependencies dependencies-vm dependencies-go bench-node bench-store

## Starts one node in a lab, deploys examples/hello.yaml and shows its answers.
run: build
	@$(LAUNCHER) run

## Stops knarr; pods, DNS and flows go on.
stop:
	@$(AS_LEFT) && if [ -x $(TARGET)/release/lab ]; then $(LAUNCHER) stop; fi

## Removes every trace of the lab.
reset:
	@$(AS_LEFT) && if [ -x $(TARGET)/release/lab ]; then $(LAUNCHER) reset; fi

## The release profile: what is installed, and what the figures are measured on.
build: dependencies
	@$(CARGO) build --release --locked -p knarr -p knarr-images -p knarr-tests --bins

## Every test of a normal run.
test: dependencies
	@$(CARGO) build --locked --workspace --all-targets
	@$(CARGO) test --locked --workspace

## The store's tests at length: 500 killed processes, 100 power cuts, twenty times the simulated ones.
test-long: dependencies
	@KNARR_TEST_FACTOR=20 $(CARGO) test --locked -p knarr-store

## The figures of one node: start, memory, idle CPU, pods, writes.
bench-node: dependencies
	@$(CARGO) build --release --locked -p knarr -p knarr-images -p knarr-tests -p knarr-kubelet --bins --example bare-cri
	@$(TARGET)/release/bench-node

## The figures of the store, beside etcd's; about 30 minutes.
bench-store: dependencies dependencies-go
	@$(CARGO) build --release --locked -p knarr -p knarr-images -p knarr-tests --bins
	@$(CARGO) build --release --locked -p knarr-store --example store-load
	@cd tests/bench/store/etcd && go build -o $(abspath $(TARGET))/release/etcd-peer .
	@$(TARGET)/release/bench-store

## Boots a Debian with systemd and cgroup v2 in an emulated machine, and tries knarr as a user installs it.
test-vm: dependencies-vm build
	@$(TARGET)/release/vm --knarr $(TARGET)/release/knarr

dependencies-vm:
	@packaging/install-dependencies vm

dependencies-go:
	@packaging/install-dependencies go

dependencies:
	@packaging/install-dependencies
