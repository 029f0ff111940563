-- What makes asking quick. Made once the rows of a whole store are in, which is quicker; the two
-- indexes that filling needs are in schema.sql.

CREATE INDEX lineage_by_base ON lineage (base);
CREATE INDEX metric_by_name ON metric (is_current, name, version, value);
CREATE INDEX attribute_by_name ON attribute (kind, name, number, version);
CREATE INDEX trait_by_kind ON trait (kind, version, value);
