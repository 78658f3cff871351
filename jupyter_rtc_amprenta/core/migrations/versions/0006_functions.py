"""Functions that append to one document and read one, whose plans PostgreSQL keeps.

Revision ID: 0006_functions
Revises: 0005_shared_files
"""

from __future__ import annotations

from alembic import op

revision = "0006_functions"
down_revision = "0005_shared_files"
branch_labels = None
depends_on = None

# A session keeps these plans for as long as it lasts, also behind pgbouncer. Made while the tables were small, they
# must not go through all of them once they are large.
_KEPT_PLANS = "SET enable_seqscan = off SET plan_cache_mode = force_generic_plan"

# The position before the appended ones; NULL: the document is not as expected, and nothing was appended.
_APPEND = f"""
CREATE FUNCTION rtc_append_updates(
  document text, expected_generation bigint, expected_epoch bigint, appended bigint, size bigint, most_bytes bigint,
  at timestamptz, channel text, places bigint[], writers text[], writer_seqs bigint[], payloads bytea[],
  metadatas bytea[], key_ids text[]
) RETURNS bigint LANGUAGE plpgsql {_KEPT_PLANS} AS $$
DECLARE
  last bigint;
BEGIN
  UPDATE yjs_documents known
  SET seq = known.seq + appended, tail_bytes = known.tail_bytes + size, updated_at = at
  WHERE known.document_id = document AND known.generation = expected_generation
    AND (expected_epoch IS NULL OR known.lease_epoch = expected_epoch)
    AND (most_bytes = 0 OR known.snapshot_bytes + known.tail_bytes + size <= most_bytes)
  RETURNING known.seq INTO last;
  IF last IS NULL THEN
    RETURN NULL;
  END IF;

  INSERT INTO yjs_updates
    (document_id, generation, seq, writer, writer_seq, payload, metadata, key_id, created_at)
  SELECT document, expected_generation, last - appended + new.place, new.writer, new.writer_seq, new.payload,
    new.metadata, new.key_id, at
  FROM unnest(places, writers, writer_seqs, payloads, metadatas, key_ids)
    AS new (place, writer, writer_seq, payload, metadata, key_id);

  PERFORM pg_notify(channel, document || ' ' || expected_generation || ' ' || last);
  RETURN last - appended;
END
$$
"""

# STABLE: its statements see one state of the database, that of the statement which calls it
# (https://www.postgresql.org/docs/13/xfunc-volatility.html). The tail comes as one value and the lengths of its
# updates, which is much faster than an array of them; what is needed to decrypt it, where any of it is encrypted.
# PostgreSQL copies what a function returns: of a document whose snapshot or tail has more bytes than `most_bytes`
# there is nothing.
_READ = f"""
CREATE FUNCTION rtc_read_document(
  document text, most_bytes bigint,
  OUT generation bigint, OUT seq bigint, OUT snapshot_seq bigint, OUT payload bytea, OUT key_id text,
  OUT tail bytea, OUT lengths int[], OUT key_ids text[], OUT writers text[], OUT writer_seqs bigint[]
) LANGUAGE plpgsql STABLE {_KEPT_PLANS} AS $$
DECLARE
  tail_bytes bigint;
  is_encrypted bool;
BEGIN
  SELECT known.generation, known.seq, known.tail_bytes INTO generation, seq, tail_bytes
  FROM yjs_documents known
  WHERE known.document_id = document AND known.snapshot_bytes <= most_bytes AND known.tail_bytes <= most_bytes;
  IF seq IS NULL THEN
    RETURN;
  END IF;

  SELECT newest.seq, newest.payload, newest.key_id INTO snapshot_seq, payload, key_id
  FROM yjs_snapshots newest
  WHERE newest.document_id = document AND newest.generation = rtc_read_document.generation
  ORDER BY newest.seq DESC LIMIT 1;

  IF tail_bytes > 0 THEN
    SELECT string_agg(new.payload, ''), array_agg(length(new.payload)), bool_or(new.key_id IS NOT NULL)
    INTO tail, lengths, is_encrypted
    FROM (
      SELECT * FROM yjs_updates all_of_it
      WHERE all_of_it.document_id = document AND all_of_it.generation = rtc_read_document.generation
        AND all_of_it.seq > coalesce(snapshot_seq, 0)
      ORDER BY all_of_it.seq
    ) new;
  END IF;

  IF is_encrypted THEN
    SELECT array_agg(new.key_id ORDER BY new.seq), array_agg(new.writer ORDER BY new.seq),
      array_agg(new.writer_seq ORDER BY new.seq)
    INTO key_ids, writers, writer_seqs
    FROM yjs_updates new
    WHERE new.document_id = document AND new.generation = rtc_read_document.generation
      AND new.seq > coalesce(snapshot_seq, 0);
  END IF;
END
$$
"""


def upgrade() -> None:
    op.execute(_APPEND)
    op.execute(_READ)


def downgrade() -> None:
    op.execute("DROP FUNCTION rtc_read_document")
    op.execute("DROP FUNCTION rtc_append_updates")
