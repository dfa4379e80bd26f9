# make test   everything set up and tested        make demo    the shipped networks, five anchors
# make test-fast   the tests that take less than half a second each, with fewer examples
# make docs   the documentation as HTML in build/docs
# make lint   formatting, types, import order     make models MNIST=DIR   train them all again

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
JOBS ?= 2

.PHONY: test test-fast lint demo models wheel bench docs clean

$(VENV)/run: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	$(BIN)/python -m graphprune warm
	touch $@

$(VENV)/dev: $(VENV)/run
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

test: $(VENV)/dev
	$(BIN)/python -m pytest -n $(JOBS)

test-fast: $(VENV)/dev
	HYPOTHESIS_PROFILE=fast $(BIN)/python -m pytest -n $(JOBS) -m "not slow"

lint: $(VENV)/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

demo: $(VENV)/run
	@echo "mnist-tiny: exact distances, and what the substitutes of the paper estimate for them"
	-$(BIN)/graphprune evaluate models/mnist-tiny.onnx --anchors models/mnist-test-100.npz --limit 5 \
	  --time-limit 15 --estimate 'prune-constant{gamma=0.5}' --estimate 'linearize-secant{layers=1}'
	@echo "mnist-a: too hard to be solved in seconds; intervals are what is proven by then"
	-$(BIN)/graphprune evaluate models/mnist-a.onnx --anchors models/mnist-test-100.npz --limit 5 \
	  --time-limit 5 --estimate 'prune-constant{gamma=0.5}' --estimate 'linearize-secant{layers=2}'

models: $(VENV)/run
	@test -n "$(MNIST)" || { echo "usage: make models MNIST=DIR, a folder with the four IDX .gz files of MNIST (http://yann.lecun.com/exdb/mnist/, mirror https://ossci-datasets.s3.amazonaws.com/mnist/)"; exit 2; }
	@test -d "$(MNIST)" || { echo "$(MNIST): no such folder; see 'make models' for where MNIST is"; exit 2; }
	$(BIN)/python -m pip install --quiet --editable '.[train]'
	$(BIN)/python models/train.py --mnist "$(MNIST)"

wheel: $(VENV)/dev
	rm -rf build dist
	$(BIN)/python -m build
	$(BIN)/python -c "import glob, zipfile; \
	  names = zipfile.ZipFile(glob.glob('dist/*.whl')[0]).namelist(); \
	  want = ['graphprune/__init__.py', 'graphprune/passes/__init__.py', 'graphprune/backends/__init__.py', \
	          'graphprune/passes/rewrite/prune_constant.py', 'graphprune/backends/scip/solve.py', 'graphprune/py.typed']; \
	  missing = [n for n in want if n not in names]; \
	  assert not missing, f'the wheel lacks {missing}'; print('wheel holds', len(names), 'files')"

# Warnings are errors: a reference or link that leads nowhere fails.
docs: $(VENV)/dev
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs
	@echo "see build/docs/index.html"

bench: $(VENV)/run
	$(BIN)/python benchmarks/evaluate.py

clean:
	rm -rf $(VENV) build dist *.egg-info
