//! Uploads in parts: they can be listed and go on after an interruption, until they are completed or given up.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};

use md5::{Digest, Md5};
use rusqlite::{Connection, OptionalExtension, Row, params};
use s3s::{S3Result, s3_error};

use super::catalog::{Catalog, begin, insert, internal, new_version, versioning};
use super::object::{Description, Object, now_s, signed};
use super::upload::{Upload, is_hole};

/// The tables of uploads and of their parts.
pub(super) const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS upload (
        id TEXT PRIMARY KEY,
        bucket TEXT NOT NULL,
        key TEXT NOT NULL,
        initiated_s INTEGER NOT NULL,
        description TEXT NOT NULL
    );
    CREATE TABLE IF NOT EXISTS part (
        upload TEXT NOT NULL,
        number INTEGER NOT NULL,
        etag TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        modified_s INTEGER NOT NULL,
        blob TEXT NOT NULL,
        PRIMARY KEY (upload, number)
    );
";

/// S3's least size of a part that is not the last.
const LEAST_PART_BYTES: u64 = 5 * 1024 * 1024;
/// S3's highest number of a part.
const MOST_PARTS: i32 = 10_000;
/// Bytes that are copied at once.
const COPIED_BYTES: usize = 1024 * 1024;

/// An upload that is not completed.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    pub(super) id: String,
    pub(super) key: String,
    pub(super) initiated_s: i64,
}

/// A part of an upload.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) number: i32,
    /// Without quotes.
    pub(super) etag: String,
    pub(super) size_bytes: u64,
    pub(super) modified_s: i64,
    blob: String,
}

impl Catalog {
    /// Begins an upload; returns its id.
    pub(super) fn begin_upload(&self, bucket: &str, key: &str, description: &Description) -> S3Result<String> {
        let (database, id) = (self.lock(), uuid::Uuid::new_v4().simple().to_string());
        versioning(&database, bucket)?;
        let description = serde_json::to_string(description).map_err(internal)?;
        let statement = "INSERT INTO upload (id, bucket, key, initiated_s, description) VALUES (?1, ?2, ?3, ?4, ?5)";
        database.execute(statement, params![id, bucket, key, now_s(), description]).map_err(internal)?;
        Ok(id)
    }

    /// Stores a part. One of the same number is replaced.
    pub(super) fn put_part(&self, bucket: &str, key: &str, id: &str, number: i32, part: Upload) -> S3Result<String> {
        if !(1..=MOST_PARTS).contains(&number) {
            return Err(s3_error!(InvalidArgument, "a part number must be between 1 and {MOST_PARTS}"));
        }
        let mut database = self.lock();
        let transaction = begin(&mut database)?;
        must_be_begun(&transaction, bucket, key, id)?;
        let (etag, blob) = (part.etag(), uuid::Uuid::new_v4().simple().to_string());
        let query = "SELECT blob FROM part WHERE upload = ?1 AND number = ?2";
        let replaced: Option<String> =
            transaction.query_row(query, params![id, number], |row| row.get(0)).optional().map_err(internal)?;
        let statement = "INSERT OR REPLACE INTO part (upload, number, etag, size_bytes, modified_s, blob)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        transaction
            .execute(statement, params![id, number, etag, signed(part.size_bytes), now_s(), blob])
            .map_err(internal)?;
        part.file.persist(self.blobs().join(blob)).map_err(internal)?;
        transaction.commit().map_err(internal)?;
        self.remove_blob(replaced);
        Ok(etag)
    }

    /// The parts of an upload, in order.
    pub(super) fn parts(&self, bucket: &str, key: &str, id: &str) -> S3Result<Vec<Part>> {
        let database = self.lock();
        must_be_begun(&database, bucket, key, id)?;
        parts(&database, id)
    }

    /// The uploads that are not completed, of keys that begin with `prefix`.
    pub(super) fn begun_uploads(&self, bucket: &str, prefix: &str) -> S3Result<Vec<Begun>> {
        let database = self.lock();
        versioning(&database, bucket)?;
        let query = "SELECT id, key, initiated_s FROM upload
                     WHERE bucket = ?1 AND substr(key, 1, length(?2)) = ?2 ORDER BY key, initiated_s, id";
        let mut statement = database.prepare(query).map_err(internal)?;
        let begun = |row: &Row<'_>| Ok(Begun { id: row.get(0)?, key: row.get(1)?, initiated_s: row.get(2)? });
        let found = statement.query_map(params![bucket, prefix], begun).map_err(internal)?;
        found.collect::<rusqlite::Result<_>>().map_err(internal)
    }

    /// Makes one object of the parts that are named, with their entity tags.
    pub(super) fn complete(&self, bucket: &str, key: &str, id: &str, named: &[(i32, String)]) -> S3Result<Object> {
        let stored = self.parts(bucket, key, id)?;
        let find = |(number, etag): &(i32, String)| {
            stored.iter().find(|part| part.number == *number && part.etag == etag.trim_matches('"'))
        };
        let chosen = named.iter().map(find).collect::<Option<Vec<_>>>().ok_or_else(|| s3_error!(InvalidPart))?;
        if !chosen.is_sorted_by(|one, other| one.number < other.number) || chosen.is_empty() {
            return Err(s3_error!(InvalidPartOrder));
        }
        let (_, but_last) = chosen.split_last().unwrap_or((&chosen[0], &[]));
        if but_last.iter().any(|part| part.size_bytes < LEAST_PART_BYTES) {
            return Err(s3_error!(EntityTooSmall));
        }
        let joined = self.join(&chosen)?;
        let mut database = self.lock();
        let transaction = begin(&mut database)?;
        must_be_begun(&transaction, bucket, key, id)?;
        let versioning = versioning(&transaction, bucket)?;
        let query = "SELECT description FROM upload WHERE id = ?1";
        let description: String = transaction.query_row(query, [id], |row| row.get(0)).map_err(internal)?;
        let blob = uuid::Uuid::new_v4().simple().to_string();
        let object = Object {
            version: new_version(versioning.as_deref()),
            etag: joint_etag(&chosen),
            size_bytes: chosen.iter().map(|part| part.size_bytes).sum(),
            modified_s: now_s(),
            description: serde_json::from_str(&description).unwrap_or_default(),
            blob: Some(blob.clone()),
        };
        insert(&transaction, bucket, key, &object)?;
        forget(&transaction, id)?;
        joined.persist(self.blobs().join(blob)).map_err(internal)?;
        transaction.commit().map_err(internal)?;
        drop(database);
        for part in stored {
            self.remove_blob(Some(part.blob));
        }
        Ok(object)
    }

    /// Gives an upload up.
    pub(super) fn abort(&self, bucket: &str, key: &str, id: &str) -> S3Result<()> {
        let parts = self.parts(bucket, key, id)?;
        forget(&self.lock(), id)?;
        for part in parts {
            self.remove_blob(Some(part.blob));
        }
        Ok(())
    }

    fn join(&self, parts: &[&Part]) -> S3Result<tempfile::TempPath> {
        let (mut joined, path) = tempfile::NamedTempFile::new_in(self.uploads()).map_err(internal)?.into_parts();
        let mut buffer = vec![0; COPIED_BYTES];
        let mut size_bytes = 0;
        for part in parts {
            let mut file = File::open(self.blobs().join(&part.blob)).map_err(internal)?;
            loop {
                let read = file.read(&mut buffer).map_err(internal)?;
                let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else { break };
                match is_hole(piece) {
                    true => drop(joined.seek(SeekFrom::Current(signed(read as u64))).map_err(internal)?),
                    false => joined.write_all(piece).map_err(internal)?,
                }
                size_bytes += read as u64;
            }
        }
        joined.set_len(size_bytes).map_err(internal)?;
        Ok(path)
    }
}

/// The entity tag that S3 gives an upload in parts.
fn joint_etag(parts: &[&Part]) -> String {
    let mut md5 = Md5::new();
    for part in parts {
        md5.update(hex::decode(&part.etag).unwrap_or_default());
    }
    format!("{}-{}", hex::encode(md5.finalize()), parts.len())
}

fn must_be_begun(database: &Connection, bucket: &str, key: &str, id: &str) -> S3Result<()> {
    versioning(database, bucket)?;
    let query = "SELECT 1 FROM upload WHERE id = ?1 AND bucket = ?2 AND key = ?3";
    let found: Option<i64> =
        database.query_row(query, params![id, bucket, key], |row| row.get(0)).optional().map_err(internal)?;
    found.map(drop).ok_or_else(|| s3_error!(NoSuchUpload))
}

fn parts(database: &Connection, id: &str) -> S3Result<Vec<Part>> {
    let query = "SELECT number, etag, size_bytes, modified_s, blob FROM part WHERE upload = ?1 ORDER BY number";
    let mut statement = database.prepare(query).map_err(internal)?;
    let part = |row: &Row<'_>| {
        let size_bytes = row.get::<_, i64>(2)?.unsigned_abs();
        Ok(Part { number: row.get(0)?, etag: row.get(1)?, size_bytes, modified_s: row.get(3)?, blob: row.get(4)? })
    };
    let found = statement.query_map([id], part).map_err(internal)?;
    found.collect::<rusqlite::Result<_>>().map_err(internal)
}

fn forget(database: &Connection, id: &str) -> S3Result<()> {
    database.execute("DELETE FROM part WHERE upload = ?1", [id]).map_err(internal)?;
    database.execute("DELETE FROM upload WHERE id = ?1", [id]).map_err(internal)?;
    Ok(())
}
