# Two commands matter: `make demo` and `make test`. Both install into .venv first.
PYTHON ?= python3
BIN := .venv/bin
PROGRAMS := import_time roofline lora_vs_trl bf16_frozen stopping rag_lora choose_vs_lm_eval writing full_vs_trl dpo_vs_trl grpo_vs_trl memory_vs_trl pretrain_vs_nanogpt \
	retrieval_quality query_speed reindex ingest_vs_llamaindex changing_docs grounded_answers flaky_api racing prompt_search judge_agreement encoder_draws contended planted load_records encoders

.PHONY: install demo test check docs slow bench clean

install: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

.venv/bench: .venv/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	touch $@

demo: install  ## climb the example task
	$(BIN)/rung check examples/tickets
	$(BIN)/rung plan examples/tickets
	$(BIN)/rung climb examples/tickets
	$(BIN)/rung ask examples/tickets "my bike was supposed to be here on Friday and there is no sign of it"
	$(BIN)/rung report examples/tickets
	@echo "serve what was chosen: $(BIN)/pip install 'rung[serve]' && $(BIN)/rung serve examples/tickets"

test: install  ## the fast tests, a file in one worker since its tests share fits, then those on the real default model
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "model and not slow" -n 2 --dist loadfile

check: install  ## style, types, the documentation site, tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(MAKE) docs
	$(MAKE) test

docs: install  ## the documentation site in build/site; fails on a broken link or a page without a place in the menu
	$(BIN)/mkdocs build --strict

slow: install  ## what takes minutes; before a release
	$(BIN)/python -m pytest -m slow

bench: .venv/bench  ## every benchmark, the short way
	for program in $(PROGRAMS); do $(BIN)/python benchmarks/$$program.py --quick || exit 1; done

clean:
	rm -rf .venv build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis examples/*/.rung
