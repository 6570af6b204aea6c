# The one door. `make help` shows what there is; each recipe is a line or two that can be run by hand as well.
# LAB chooses the inventory (inventories/LAB), ARGS is passed on, NODE names a node.

LAB  ?= lab
ARGS ?=
NODE ?= server1
NODES ?= 10000
CASES ?= 1000000
CHAOS_SECONDS ?= 10
ROUNDS ?= 5

BIN       := .venv/bin
PLAYBOOK  := $(BIN)/ansible-playbook -i inventories/$(LAB)
PYTEST    := $(BIN)/python -m pytest

export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Make installs what the tests need: a program that is missing then is a failure, not a skip.
export MESH_REQUIRE_PROGRAMS := 1

.DEFAULT_GOAL := help
.PHONY: help docs plugins up down status ssh quickstart verify test check lint types fmt unit sim interop lab-test capture prove overhead tls-modes exposure bench-encryption image sanity env engine programs clean fuzz drill etcd chaos bench ui gossip-rotate gossip-encrypt tls-upshift ca-rotate connect-ca-rotate roll rollback backup restore add-node remove-node replace-server chaos-lab chaos-heal day-two-test chaos-lab-test scale federation-test tls-modes-test http-conformance

help: ## This list
	@printf 'usage: make TARGET [LAB=lab] [NODE=server1] [ARGS="-e ..."]\n\n'
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-17s %s\n", $$1, $$2}' $(MAKEFILE_LIST) | sort

# The lab

up: env engine ## Bring up a mesh: environment, engine, node image, containers, agents (LAB=quickstart for the small one)
	$(PLAYBOOK) site.yml $(ARGS)

quickstart: ## The smallest mesh: one server, two clients
	@$(MAKE) --no-print-directory up LAB=quickstart

down: env ## Take a lab down; its secrets are kept
	$(PLAYBOOK) playbooks/lab_down.yml $(ARGS)

status: ## Containers of all labs
	@docker ps --all --filter label=io.meshnode.lab --format 'table {{.Names}}\t{{.Status}}\t{{.Ports}}\t{{.Image}}'

ssh: ## A shell on a node (NODE=server1)
	@$(if $(wildcard inventories/$(LAB)/.secrets/ssh/ssh_config),ssh -F inventories/$(LAB)/.secrets/ssh/ssh_config $(NODE),docker exec -it $(LAB)-$(NODE) bash)

verify: env ## Is the mesh what the inventory says? Asks every node, and looks from outside; changes nothing
	$(PLAYBOOK) playbooks/verify.yml $(ARGS)

capture: env ## Record the mesh's traffic and judge it: is every wire encrypted?
	$(PLAYBOOK) playbooks/capture.yml $(ARGS)

prove: env ## Evidence in one bundle: this lab, and its twin in clear as the negative control (both have to be up)
	scripts/prove.sh $(LAB) $(ARGS)

overhead: env ## What encryption costs here: this lab and its twin in clear, measured in turns (both have to be up; ROUNDS=5)
	scripts/overhead.sh $(LAB) $(ROUNDS) $(ARGS)

tls-modes: env engine ## The four TLS modes in containers: ask each, compare, judge the wire (ARGS="-e tls_data_plane=builtin")
	$(BIN)/ansible-playbook -i inventories/envoy_tls playbooks/tls_modes.yml $(ARGS)

image: env engine ## Make the node image only
	$(PLAYBOOK) playbooks/lab_image.yml $(ARGS)

# A mesh that runs is changed, under probes: docs/day-two.md

gossip-rotate: env ## A new gossip key for the running mesh
	$(PLAYBOOK) playbooks/gossip_rotate.yml $(ARGS)

gossip-encrypt: env ## Gossip of the running mesh from clear to encrypted (back: ARGS="-e gossip_encrypt_state=absent")
	$(PLAYBOOK) playbooks/gossip_encrypt.yml $(ARGS)

tls-upshift: env ## RPC and HTTP of the running mesh from clear to TLS (back: ARGS="-e tls_upshift_state=absent")
	$(PLAYBOOK) playbooks/tls_upshift.yml $(ARGS)

ca-rotate: env ## A new private CA for the nodes of the running mesh
	$(PLAYBOOK) playbooks/ca_rotate.yml $(ARGS)

connect-ca-rotate: env ## A new root for Connect, the CA of the services
	$(PLAYBOOK) playbooks/connect_ca_rotate.yml $(ARGS)

roll: env ## A new package or configuration for the running mesh, in turns and under probes
	$(PLAYBOOK) playbooks/roll.yml $(ARGS)

rollback: env ## The package and configuration that the nodes had before the last roll, without the old checkout
	$(PLAYBOOK) playbooks/rollback.yml $(ARGS)

backup: env ## The servers' state and this controller's secrets in one folder, inventories/LAB/.backups
	$(PLAYBOOK) playbooks/backup.yml $(ARGS)

restore: env ## The servers' state as it was (ARGS="-e mesh_backup=DIRECTORY")
	$(PLAYBOOK) playbooks/restore.yml $(ARGS)

# Here nobody is the default: NODE has to be said.
NAMED = -e node=$(if $(filter-out file,$(origin NODE)),$(NODE))

add-node: env ## A node of the inventory joins the running mesh (NODE=client9)
	$(PLAYBOOK) playbooks/add_node.yml $(NAMED) $(ARGS)

remove-node: env ## A node leaves the running mesh for good (NODE=client9)
	$(PLAYBOOK) playbooks/remove_node.yml $(NAMED) $(ARGS)

replace-server: env ## A server that is dead, disk and all, is made again (NODE=server2)
	$(PLAYBOOK) playbooks/replace_server.yml $(NAMED) $(ARGS)

chaos-lab: env ## Faults from a seed on a lab under load: is every promise kept? (ARGS="-e chaos_seed=7 -e chaos_minutes=2")
	$(PLAYBOOK) playbooks/chaos.yml $(ARGS)

chaos-heal: env ## Undo what an interrupted chaos-lab left, at once
	$(PLAYBOOK) playbooks/chaos_heal.yml $(ARGS)

# The tests

test: check plugins interop ui lab-test ## check, plugins, interop, the web page and the lab; not the drills below

check: lint types unit sim ## Lint, types, unit tests and simulation: no containers, under three minutes

lint: env ## ruff, yamllint, ansible-lint
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/yamllint --strict . && $(BIN)/ansible-lint --offline --strict

types: env ## mypy, strict
	$(BIN)/mypy

fmt: env ## Format the Python sources
	$(BIN)/ruff check --fix .; $(BIN)/ruff format .

# Both workers have to make the same names of tests, also where they come from sets.
unit: env programs ## Unit tests and the rules of the architecture, two at a time
	PYTHONHASHSEED=0 $(PYTEST) -q -n 2 --dist loadfile tests/unit tests/meta --ignore tests/unit/plugins $(ARGS)

plugins: env programs ## The collection's plugins, run by Ansible and against real agents
	PYTHONHASHSEED=0 $(PYTEST) -q -n 2 --dist loadfile tests/unit/plugins $(ARGS)

sim: env ## Simulation: many nodes, virtual time
	$(PYTEST) -q tests/sim $(ARGS)

interop: env programs ## Against programs that are not ours: serf, openssl, curl, dig
	PYTHONHASHSEED=0 $(PYTEST) -q -n 3 --dist loadfile tests/interop --ignore-glob 'tests/interop/test_log_etcd*' \
		--ignore-glob 'tests/interop/test_etcd_*' --ignore tests/interop/test_tls_modes_hostile.py \
		--ignore tests/interop/test_connect_expired.py $(ARGS)

ui: env programs ## The web page in a real browser; pictures of every page are left in artifacts/ui
	PYTHONHASHSEED=0 $(PYTEST) -q -n 2 --dist loadfile tests/ui $(ARGS)

lab-test: env programs engine ## The lab's own tests and the mesh in containers
	PYTHONHASHSEED=0 $(PYTEST) -q -n 3 --dist loadfile tests/lab --ignore-glob "tests/lab/test_day_two*" \
		--ignore-glob "tests/lab/test_federation*" --ignore tests/lab/test_tls_modes.py --ignore tests/lab/test_nodes.py \
		--ignore-glob "tests/lab/test_tls_upshift*" --ignore tests/lab/test_chaos.py --ignore tests/lab/test_faults.py \
		--ignore tests/lab/test_data_planes.py --ignore tests/lab/test_connect_expired.py $(ARGS)

# Drills that take longer

day-two-test: env programs engine ## Procedures on a running mesh, interrupted at every phase, under probes
	$(PYTEST) -q tests/lab/test_day_two.py tests/lab/test_day_two_long.py tests/lab/test_day_two_away.py tests/lab/test_nodes.py \
		tests/lab/test_tls_upshift.py tests/lab/test_tls_upshift_etcd.py tests/lab/test_day_two_ssh.py tests/lab/test_day_two_etcd.py \
		tests/lab/test_day_two_rollback.py tests/lab/test_connect_expired.py tests/interop/test_connect_expired.py $(ARGS)

chaos-lab-test: env programs engine ## Each fault seen in force; promises kept and broken under faults, a run that is killed
	$(PYTEST) -q tests/lab/test_faults.py tests/lab/test_chaos.py $(ARGS)

# NODES said on the command line is in the environment of the recipe, where inventories/scale looks.
scale: env engine ## Stand up many nodes, change them, print what that takes (NODES=25; about 90 MiB each)
	$(BIN)/python scripts/scale.py $(ARGS)

federation-test: env programs engine ## Two datacenters in containers: the link judged, cut, healed; procedures under probes
	$(PYTEST) -q tests/lab/test_federation.py tests/lab/test_federation_day_two.py tests/lab/test_federation_nodes.py $(ARGS)

tls-modes-test: env programs engine ## Four TLS modes, and sidecars, in containers, by Envoy and built in, with what must not pass for them
	$(PYTEST) -q tests/interop/test_tls_modes_hostile.py tests/lab/test_tls_modes.py tests/lab/test_data_planes.py $(ARGS)

fuzz: env ## Millions of mutated inputs through every parser (CASES=1000000 for each)
	MESH_FUZZ_CASES=$(CASES) $(PYTEST) -q --timeout=3600 -k "fuzz or mutated or garbage" tests/unit $(ARGS)

drill: env ## The gossip simulation with 10 000 nodes (NODES=10000)
	$(BIN)/python -m tests.sim.drill --nodes $(NODES) --kills 5

etcd: env programs ## The replicated log on real etcd members, killed, cut off and changed under load
	$(PYTEST) -q --timeout=900 tests/interop/test_log_etcd*.py tests/interop/test_etcd_*.py $(ARGS)

docs: env ## Write the generated pages of docs/ again: configuration, compatibility and HTTP
	$(BIN)/python -m meshnode.agent.config.document
	$(BIN)/python -m tests.support.compatibility
	$(BIN)/python -m tests.support.conformance_document

http-conformance: env ## Send the corpus of HTTP through both data planes again, and write docs/http-conformance.md
	$(BIN)/python -m tests.support.conformance_run

chaos: env programs ## Killed, frozen, cut off, out of disk, in another time: does the cluster's state survive? (CHAOS_SECONDS=10)
	CHAOS_SECONDS=$(CHAOS_SECONDS) $(PYTEST) -q -s --timeout=1800 tests/chaos $(ARGS)

exposure: env ## The whole exposure matrix: every combination of what decides about an agent's doors (540 agents, a quarter of an hour)
	$(BIN)/meshnode exposure -matrix=full

bench-encryption: env ## What encryption costs on this machine, layer by layer: artifacts/encryption/report.html
	$(BIN)/python bench/encryption.py $(ARGS)

bench: env ## Every benchmark beside its peer; the machine should be idle
	for file in bench/*.py; do $(BIN)/python $$file || exit 1; done

# The rest

sanity: env ## ansible-test sanity over the collection (makes environments from the package index the first time)
	scripts/sanity.sh $(ARGS)

env: ## The Python environment in .venv
	@scripts/bootstrap.sh

programs: ## The foreign programs that the tests have on the other end
	@scripts/programs.sh

engine: ## The container engine and what the lab needs around it
	@scripts/engine.sh

clean: ## Remove what can be made again: caches, and images of the lab that nothing uses
	rm -rf .cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .ansible artifacts dist build
	docker images --quiet --filter label=io.meshnode.image | sort -u | xargs --no-run-if-empty docker rmi 2>/dev/null || true
