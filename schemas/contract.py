"""Every name that two parts of the pipeline must agree on."""

from typing import Final

# Splits of the interactions.
TRAIN_SPLIT: Final = "train"
EVAL_SPLIT: Final = "eval"
# Only where the configuration asks for it: what training may look at to choose when to stop.
VALIDATION_SPLIT: Final = "validation"
# The one split of the examples of users and of items.
ENTITY_SPLIT: Final = "all"

# The history's padding, on the left, and what stands for it after Transform.
HISTORY_PADDING: Final = ""
HISTORY_PADDING_KEY: Final = -1
# In the column of the time gaps, before Transform and after it.
GAP_PADDING: Final = -1

# The column of the sequences with the weight of each row in the loss, float32, where one is configured.
WEIGHT: Final = "weight"
# The columns of the sequences that end the splits of a user: the user's train rows are the positions
# [0, train_end) of its lists, validation [train_end, validation_end), eval [validation_end, eval_end), and
# what follows is in none.
TRAIN_END: Final = "train_end"
VALIDATION_END: Final = "validation_end"
EVAL_END: Final = "eval_end"
# The columns of the examples of users and items, int64: how many rows of each split hold the entity.
TRAIN_ROWS: Final = "train_rows"
VALIDATION_ROWS: Final = "validation_rows"
# No feature can have one of these names.
RESERVED_NAMES: Final = (WEIGHT, TRAIN_END, VALIDATION_END, EVAL_END, TRAIN_ROWS, VALIDATION_ROWS)

# Signatures and output of a served tower.
RAW_SIGNATURE: Final = "serving_default"
EXAMPLES_SIGNATURE: Final = "serving_examples"
EXAMPLES_INPUT: Final = "examples"
EMBEDDING_OUTPUT: Final = "embedding"
# What the retriever's signature has beside the inputs of the user tower, and what it answers.
EXCLUDE_INPUT: Final = "exclude"
K_INPUT: Final = "k"
FILTER_INPUT: Final = "filter"
RETRIEVER_INPUTS: Final = (EXCLUDE_INPUT, K_INPUT, FILTER_INPUT)
ITEM_IDS_OUTPUT: Final = "item_ids"
SCORES_OUTPUT: Final = "scores"
VERSION_OUTPUT: Final = "version"

# Parts of a trained model (inside the Trainer's serving_model_dir) and of a release.
USER_TOWER: Final = "user_tower"
ITEM_TOWER: Final = "item_tower"
INDEX: Final = "index"
ANN: Final = "ann"
RETRIEVER: Final = "retriever"
STATE: Final = "state"
USERS: Final = "users"
RELEASES: Final = "releases"
MANIFEST_FILE: Final = "manifest.json"
# In the assets of the retriever's SavedModel: the version that it answers with. "0" until it is released.
RETRIEVER_VERSION_FILE: Final = "release_version.txt"
# Which release is current, after one was rolled back, and what TensorFlow Serving is to load.
CURRENT_FILE: Final = "current.json"
MODELS_CONFIG_FILE: Final = "models.config"
# Beside the releases: the last model that was refused.
REFUSED_FILE: Final = "refused.json"
# Every part carries the id of the training that made it; a reader refuses a mixed set.
# TensorFlow Serving leaves a SavedModel's assets.extra folder alone.
PART_FILE: Final = "dssm_part.json"
ASSETS_EXTRA: Final = "assets.extra"
# There too: requests that TensorFlow Serving answers to itself before it makes a version available.
WARMUP_FILE: Final = "tf_serving_warmup_requests"
MODEL_ID: Final = "model_id"

# Files of the artifacts.
CATALOGUE_FILE: Final = "catalogue.parquet"
INGEST_REPORT_FILE: Final = "ingest_report.json"
# In it, and in the manifest: hashes of the source tables by table and day.
DAY_FINGERPRINTS: Final = "day_fingerprints"
DEAD_LETTERS_FILE: Final = "dead_letters.json"
MODEL_INFO_FILE: Final = "model.json"
# In it: the folder of the training's checkpoints, a path or URI, to be deleted once the model is safe; null
# for none.
CHECKPOINTS: Final = "checkpoints"
# In the folder of the release's state: what TFDV says about the tables that it was trained on, and the
# sequences' own figures out of the ingest's report.
USER_STATISTICS_FILE: Final = "user_statistics.pb"
ITEM_STATISTICS_FILE: Final = "item_statistics.pb"
CONTEXT_STATISTICS_FILE: Final = "context_statistics.pb"
SEQUENCE_FIGURES_FILE: Final = "sequence_figures.json"
# There too, and in the Trainer's folder of that name: what the weights are that a warm start begins from.
TRAINING_STATE_FILE: Final = "training_state.json"
INDEX_EMBEDDINGS_FILE: Final = "embeddings.npy"
# Of the approximate index: what is known of it, and, where there is one, what faiss wrote.
ANN_FILE: Final = "ann.json"
ANN_INDEX_FILE: Final = "index.faiss"
EVALUATION_REPORT_FILE: Final = "evaluation_report.json"
# Beside the evaluation's report, and in the release's state: a row for each user, a column for each metric.
PER_USER_METRICS_FILE: Final = "per_user_metrics.parquet"
ANOMALY_REPORT_FILE: Final = "anomaly_report.json"
# What a person, a CI system and another program read of a run.
REPORT_PAGE_FILE: Final = "report.html"
REPORT_MARKDOWN_FILE: Final = "report.md"
REPORT_SCALARS_FILE: Final = "scalars.json"
BLESSED_FILE: Final = "BLESSED"
NOT_BLESSED_FILE: Final = "NOT_BLESSED"
# TFX's name for what StatisticsGen writes for each split.
STATISTICS_FILE: Final = "FeatureStats.pb"
SCHEMA_FILE: Final = "schema.pbtxt"
PUSH_RESULT_FILE: Final = "push.json"

# Vocabularies of the transform graph: the file of feature f is f + VOCABULARY_SUFFIX.
VOCABULARY_SUFFIX: Final = "_vocabulary"
# Where they lie in a release's state, those of all tables together.
VOCABULARIES: Final = "vocabularies"

# The environment variable that names the run where the pipeline itself cannot.
RUN_ID_VARIABLE: Final = "DSSM_RUN_ID"

# Environment variable of a container that was given GPUs: training on fewer is an error.
REQUIRED_GPUS_VARIABLE: Final = "DSSM_REQUIRED_GPUS"

# What a person watching a run should see; everything else goes to the log file.
PROGRESS_LOGGER: Final = "dssm.progress"

# How far a step is, for whoever draws it; schemas/progress.py says what its records are.
LIVE_LOGGER: Final = "dssm.live"
# The namespace of the Beam counters that are such figures, each named by what it counts.
PROGRESS_COUNTERS: Final = "dssm.progress"
