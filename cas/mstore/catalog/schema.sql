-- The catalogue of a store: what its names and objects say, in tables (docs/guide/search.md).
-- Everything here is derived and may be deleted at any time. The keys are those that the store
-- has, so that the same store gives the same rows in the same order whatever happened before.
-- Ids are 32 bytes here and hex in the views, times UTC microseconds here and ISO 8601 there.

CREATE TABLE fact (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- The generation of every ref that has been taken in, and the hash of its slot.
CREATE TABLE seen (
  namespace TEXT NOT NULL,
  name TEXT NOT NULL,
  generation INTEGER NOT NULL,
  slot BLOB NOT NULL,
  PRIMARY KEY (namespace, name)
) STRICT, WITHOUT ROWID;

-- The numbered rows of models, deleted ones left out.
CREATE TABLE numbered (
  model TEXT NOT NULL,
  number INTEGER NOT NULL,
  version BLOB NOT NULL,
  state TEXT NOT NULL,
  PRIMARY KEY (model, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX numbered_by_version ON numbered (version);

CREATE TABLE alias (
  tag TEXT PRIMARY KEY,
  version BLOB NOT NULL,
  state TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Every version that a name holds, and their ancestors. trouble says why one cannot be read.
CREATE TABLE described (
  id BLOB PRIMARY KEY,
  tree BLOB,
  model_hash BLOB,
  size INTEGER NOT NULL DEFAULT 0,
  files INTEGER NOT NULL DEFAULT 0,
  tensors INTEGER NOT NULL DEFAULT 0,
  weights INTEGER NOT NULL DEFAULT 0,
  params INTEGER NOT NULL DEFAULT 0,
  time INTEGER NOT NULL DEFAULT 0,
  author TEXT NOT NULL DEFAULT '',
  message TEXT NOT NULL DEFAULT '',
  task TEXT NOT NULL DEFAULT '',
  trouble TEXT NOT NULL DEFAULT ''
) STRICT, WITHOUT ROWID;

CREATE TABLE lineage (
  derived BLOB NOT NULL,
  place INTEGER NOT NULL,
  base BLOB NOT NULL,
  relation TEXT NOT NULL,
  PRIMARY KEY (derived, place)
) STRICT, WITHOUT ROWID;

-- value is NULL for NaN. is_current marks the one of several that a search by name alone sees.
CREATE TABLE metric (
  version BLOB NOT NULL,
  name TEXT NOT NULL,
  source TEXT NOT NULL CHECK (source IN ('version', 'note', 'log-last')),
  origin BLOB NOT NULL,
  value REAL,
  dataset TEXT NOT NULL DEFAULT '',
  split TEXT NOT NULL DEFAULT '',
  step INTEGER,
  topic TEXT NOT NULL DEFAULT '',
  author TEXT NOT NULL DEFAULT '',
  time INTEGER NOT NULL DEFAULT 0,
  is_current INTEGER NOT NULL DEFAULT 1,
  PRIMARY KEY (version, name, source, origin)
) STRICT, WITHOUT ROWID;

-- Parameters and metadata, nested ones under dotted names; value is JSON.
CREATE TABLE attribute (
  version BLOB NOT NULL,
  kind TEXT NOT NULL CHECK (kind IN ('parameter', 'metadata')),
  name TEXT NOT NULL,
  value TEXT NOT NULL,
  number REAL,
  words TEXT,
  PRIMARY KEY (version, kind, name)
) STRICT, WITHOUT ROWID;

-- What a version has any number of: labels, dtypes, formats, frameworks.
CREATE TABLE trait (
  version BLOB NOT NULL,
  kind TEXT NOT NULL,
  value TEXT NOT NULL,
  origin BLOB NOT NULL DEFAULT x'',
  PRIMARY KEY (version, kind, value, origin)
) STRICT, WITHOUT ROWID;

CREATE TABLE used (
  version BLOB NOT NULL,
  dataset TEXT NOT NULL,
  id BLOB,
  PRIMARY KEY (version, dataset)
) STRICT, WITHOUT ROWID;

CREATE TABLE file (
  version BLOB NOT NULL,
  path TEXT NOT NULL,
  id BLOB NOT NULL,
  type TEXT NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (version, path)
) STRICT, WITHOUT ROWID;

CREATE TABLE file_tensor (
  file BLOB NOT NULL,
  place INTEGER NOT NULL,
  name TEXT NOT NULL,
  tensor BLOB NOT NULL,
  dtype TEXT NOT NULL,
  shape TEXT NOT NULL,
  elements INTEGER NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (file, place)
) STRICT, WITHOUT ROWID;

CREATE TABLE said (
  id BLOB PRIMARY KEY,
  version BLOB NOT NULL,
  time INTEGER NOT NULL,
  author TEXT NOT NULL,
  message TEXT NOT NULL,
  topic TEXT NOT NULL,
  dataset TEXT NOT NULL,
  split TEXT NOT NULL,
  step INTEGER
) STRICT, WITHOUT ROWID;

CREATE INDEX said_by_version ON said (version);

CREATE TABLE series (
  version BLOB NOT NULL,
  log BLOB NOT NULL,
  name TEXT NOT NULL,
  source TEXT NOT NULL,
  points INTEGER NOT NULL,
  first_step INTEGER,
  last_step INTEGER,
  last REAL,
  least REAL,
  greatest REAL,
  PRIMARY KEY (version, log, name)
) STRICT, WITHOUT ROWID;

-- What is searched for words.
CREATE TABLE document (
  number INTEGER PRIMARY KEY,
  version BLOB NOT NULL UNIQUE,
  names TEXT NOT NULL,
  message TEXT NOT NULL,
  tags TEXT NOT NULL,
  notes TEXT NOT NULL,
  card TEXT NOT NULL
) STRICT;

CREATE VIRTUAL TABLE words USING fts5(
  names, message, tags, notes, card,
  content='document', content_rowid='number', tokenize='unicode61 remove_diacritics 2'
);

CREATE VIEW models AS
SELECT model AS name, count(*) AS versions, max(number) AS newest,
  lower(hex((SELECT version FROM numbered AS head WHERE head.model = numbered.model
    ORDER BY head.number DESC LIMIT 1))) AS id
FROM numbered WHERE model NOT LIKE 'mstore/%' GROUP BY model;

CREATE VIEW versions AS
SELECT model, number, lower(hex(version)) AS id, state, size, files, tensors, weights, params,
  strftime('%Y-%m-%dT%H:%M:%S', time / 1000000, 'unixepoch')
    || printf('.%06dZ', time % 1000000) AS time,
  author, task, message, nullif(lower(hex(model_hash)), '') AS model_hash, trouble
FROM numbered JOIN described ON described.id = numbered.version
WHERE model NOT LIKE 'mstore/%';

CREATE VIEW metrics AS
SELECT lower(hex(metric.version)) AS version, name,
  value, CASE WHEN value IS NULL THEN 'NaN' ELSE CAST(value AS TEXT) END AS shown,
  CASE
    WHEN name = 'memory' THEN 'bytes'
    WHEN name = 'latency' OR name LIKE 'latency@%' THEN 'seconds'
    WHEN name = 'flops' THEN 'operations'
    ELSE ''
  END AS unit,
  dataset, split, step, source, topic, is_current,
  CASE source WHEN 'version' THEN described.author ELSE metric.author END AS author,
  strftime('%Y-%m-%dT%H:%M:%S',
    CASE source WHEN 'version' THEN described.time ELSE metric.time END / 1000000, 'unixepoch')
    || printf('.%06dZ',
    CASE source WHEN 'version' THEN described.time ELSE metric.time END % 1000000) AS time
FROM metric JOIN described ON described.id = metric.version;

CREATE VIEW parameters AS
SELECT lower(hex(version)) AS version, name, value, number
FROM attribute WHERE kind = 'parameter';

CREATE VIEW metadata AS
SELECT lower(hex(version)) AS version, name, value, number
FROM attribute WHERE kind = 'metadata';

CREATE VIEW datasets AS
SELECT dataset AS name, lower(hex(version)) AS version, nullif(lower(hex(id)), '') AS id FROM used;

CREATE VIEW tensors AS
SELECT lower(hex(file.version)) AS version, path, name, dtype, shape, elements,
  file_tensor.size AS size, lower(hex(tensor)) AS id
FROM file JOIN file_tensor ON file_tensor.file = file.id;

CREATE VIEW files AS
SELECT lower(hex(version)) AS version, path, type, size, lower(hex(id)) AS id FROM file;

CREATE VIEW parent AS
SELECT lower(hex(base)) AS base, lower(hex(derived)) AS derived, message AS "commit", relation
FROM lineage JOIN described ON described.id = lineage.derived;

CREATE VIEW tags AS
SELECT tag, lower(hex(version)) AS version, 'alias' AS kind FROM alias
UNION ALL
SELECT DISTINCT value, lower(hex(version)), 'label' FROM trait WHERE kind = 'label';

CREATE VIEW notes AS
SELECT lower(hex(id)) AS id, lower(hex(version)) AS version,
  strftime('%Y-%m-%dT%H:%M:%S', time / 1000000, 'unixepoch')
    || printf('.%06dZ', time % 1000000) AS time,
  author, topic, message, dataset, split, step
FROM said;

CREATE VIEW curves AS
SELECT lower(hex(version)) AS version, name, source, points, first_step, last_step, last, least,
  greatest, lower(hex(log)) AS log
FROM series;

-- model_version(name, id, N, W, M, F) of ModelHub: network, weights, metadata and files. N is
-- left empty until a store keeps layer graphs; the others have one tensor, metric or path a line.
-- No JSON functions: SQLite 3.40 refuses them in views where it is told to trust no schema.
CREATE VIEW model_version AS
SELECT model AS name, lower(hex(version)) AS id, NULL AS N,
  (SELECT group_concat(name || ' ' || dtype || ' ' || shape, char(10)) FROM file
    JOIN file_tensor ON file_tensor.file = file.id WHERE file.version = numbered.version) AS W,
  (SELECT group_concat(name || ' ' || coalesce(value, 'NaN'), char(10)) FROM metric
    WHERE metric.version = numbered.version AND is_current = 1) AS M,
  (SELECT group_concat(path, char(10)) FROM file WHERE file.version = numbered.version) AS F
FROM numbered WHERE model NOT LIKE 'mstore/%';
