//! The catalog of buckets, keys and versions, in SQLite. The bytes are in files beside it.
//!
//! One lock and one transaction decide whether an upload is accepted: if two writers both require that a key
//! is new, one wins. A file is never changed after its name is in the catalog.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use s3s::{S3Error, S3ErrorCode, S3Result, s3_error};

use super::condition::WriteConditions;
use super::object::{Description, NULL_VERSION, Object, now_s, signed};
use super::parts;
use super::upload::Upload;
use super::versions::Version;
use crate::error::{Error, Result};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS bucket (
        name TEXT PRIMARY KEY,
        created_s INTEGER NOT NULL,
        versioning TEXT
    );
    CREATE TABLE IF NOT EXISTS object (
        sequence INTEGER PRIMARY KEY AUTOINCREMENT,
        bucket TEXT NOT NULL,
        key TEXT NOT NULL,
        version TEXT NOT NULL,
        etag TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        modified_s INTEGER NOT NULL,
        description TEXT NOT NULL,
        blob TEXT
    );
    CREATE INDEX IF NOT EXISTS object_by_key ON object (bucket, key, sequence);
";

/// The columns of [`Object`], in the order that [`read_object`] reads.
const COLUMNS: &str = "version, etag, size_bytes, modified_s, description, blob";

/// The status in `PutBucketVersioning` that keeps every version.
const ENABLED: &str = "Enabled";

/// Lifetime of stored data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Until the process ends.
    WhileRunning,
    /// Until it is deleted.
    OnDisk,
}

/// All stored buckets and objects.
pub(crate) struct Catalog {
    database: Mutex<Connection>,
    folder: PathBuf,
}

/// Result of a deletion.
pub(super) struct Deleted {
    /// A delete marker was written, or a delete marker was deleted.
    pub(super) is_marker: bool,
    /// The version that was written or deleted.
    pub(super) version: Option<String>,
}

impl Catalog {
    /// Opens `s3.sqlite` and `blobs/` in `folder`, and empties `uploads/`.
    pub(crate) fn open(folder: &Path, keep: Keep) -> Result<Catalog> {
        let catalog = Catalog { database: Mutex::new(connect(folder, keep)?), folder: folder.to_owned() };
        // Files here are uploads that an earlier process did not finish.
        let _ = std::fs::remove_dir_all(catalog.uploads());
        for path in [catalog.uploads(), catalog.blobs()] {
            std::fs::create_dir_all(&path).map_err(|source| Error::Path { path, source })?;
        }
        Ok(catalog)
    }

    /// The folder of uploads that are not yet accepted. It is on the same file system as their destination,
    /// so that publishing is a rename.
    pub(super) fn uploads(&self) -> PathBuf {
        self.folder.join("uploads")
    }

    pub(super) fn create_bucket(&self, name: &str) -> S3Result<()> {
        let statement = "INSERT OR IGNORE INTO bucket (name, created_s) VALUES (?1, ?2)";
        let created = self.lock().execute(statement, params![name, now_s()]).map_err(internal)?;
        if created == 0 { Err(s3_error!(BucketAlreadyOwnedByYou)) } else { Ok(()) }
    }

    /// The versioning of a bucket; `None` until it is first set.
    pub(super) fn versioning(&self, bucket: &str) -> S3Result<Option<String>> {
        versioning(&self.lock(), bucket)
    }

    pub(super) fn set_versioning(&self, bucket: &str, status: &str) -> S3Result<()> {
        let statement = "UPDATE bucket SET versioning = ?2 WHERE name = ?1";
        let changed = self.lock().execute(statement, params![bucket, status]).map_err(internal)?;
        if changed == 0 { Err(s3_error!(NoSuchBucket)) } else { Ok(()) }
    }

    /// Makes `upload` the newest version of `key`, if `conditions` allow it.
    pub(super) fn publish(
        &self,
        bucket: &str,
        key: &str,
        upload: Upload,
        description: Description,
        conditions: &WriteConditions,
    ) -> S3Result<Object> {
        let mut database = self.lock();
        let transaction = begin(&mut database)?;
        let versioning = versioning(&transaction, bucket)?;
        let current = newest(&transaction, bucket, key)?.filter(|object| !object.is_delete_marker());
        conditions.judge(current.as_ref())?;

        let blob = uuid::Uuid::new_v4().simple().to_string();
        let object = Object {
            version: new_version(versioning.as_deref()),
            etag: upload.etag(),
            size_bytes: upload.size_bytes,
            modified_s: now_s(),
            description,
            blob: Some(blob.clone()),
        };
        let replaced = if object.version == NULL_VERSION { forget_null(&transaction, bucket, key)? } else { None };
        insert(&transaction, bucket, key, &object)?;
        // Move the file before the commit: a version without its file is worse than a file without a version.
        let destination = self.blobs().join(blob);
        upload.file.persist(&destination).map_err(internal)?;
        if let Err(error) = transaction.commit() {
            let _ = std::fs::remove_file(destination);
            return Err(internal(error));
        }
        self.remove_blob(replaced);
        Ok(object)
    }

    /// The given version of `key`, or its newest.
    pub(super) fn object(&self, bucket: &str, key: &str, version: Option<&str>) -> S3Result<Object> {
        readable(&self.lock(), bucket, key, version)
    }

    /// The same with its open file. It is opened under the lock, so that no deletion can come first.
    pub(super) fn open_object(&self, bucket: &str, key: &str, version: Option<&str>) -> S3Result<(Object, File)> {
        let database = self.lock();
        let object = readable(&database, bucket, key, version)?;
        let blob = object.blob.as_deref().ok_or_else(|| s3_error!(NoSuchKey))?;
        let file = File::open(self.blobs().join(blob)).map_err(internal)?;
        Ok((object, file))
    }

    /// Deletes `key`: with a delete marker if the bucket keeps versions, otherwise permanently.
    pub(super) fn delete(&self, bucket: &str, key: &str) -> S3Result<Deleted> {
        let mut database = self.lock();
        let transaction = begin(&mut database)?;
        let versioning = versioning(&transaction, bucket)?;
        let marker = Object {
            version: new_version(versioning.as_deref()),
            etag: String::new(),
            size_bytes: 0,
            modified_s: now_s(),
            description: Description::default(),
            blob: None,
        };
        let replaced = if marker.version == NULL_VERSION { forget_null(&transaction, bucket, key)? } else { None };
        let is_marker = versioning.is_some();
        if is_marker {
            insert(&transaction, bucket, key, &marker)?;
        }
        transaction.commit().map_err(internal)?;
        self.remove_blob(replaced);
        Ok(Deleted { is_marker, version: is_marker.then_some(marker.version) })
    }

    /// Deletes one version permanently. A missing version is no error.
    pub(super) fn delete_version(&self, bucket: &str, key: &str, version: &str) -> S3Result<Deleted> {
        let mut database = self.lock();
        let transaction = begin(&mut database)?;
        versioning(&transaction, bucket)?;
        let deleted = find(&transaction, bucket, key, version)?;
        let statement = "DELETE FROM object WHERE bucket = ?1 AND key = ?2 AND version = ?3";
        transaction.execute(statement, params![bucket, key, version]).map_err(internal)?;
        transaction.commit().map_err(internal)?;
        let is_marker = deleted.as_ref().is_some_and(Object::is_delete_marker);
        self.remove_blob(deleted.and_then(|object| object.blob));
        Ok(Deleted { is_marker, version: Some(version.to_owned()) })
    }

    /// The newest version of every key that begins with `prefix` and comes after `after`, in order.
    pub(super) fn newest_objects(&self, bucket: &str, prefix: &str, after: &str) -> S3Result<Vec<(String, Object)>> {
        let database = self.lock();
        versioning(&database, bucket)?;
        let query = format!(
            "SELECT {COLUMNS}, key FROM object AS this
             WHERE bucket = ?1 AND key > ?2 AND substr(key, 1, length(?3)) = ?3 AND blob IS NOT NULL
             AND sequence = (SELECT max(sequence) FROM object WHERE bucket = this.bucket AND key = this.key)
             ORDER BY key"
        );
        let mut statement = database.prepare(&query).map_err(internal)?;
        let found = statement
            .query_map(params![bucket, after, prefix], |row| Ok((row.get(6)?, read_object(row)?)))
            .map_err(internal)?;
        found.collect::<rusqlite::Result<_>>().map_err(internal)
    }

    /// Every version of every key that begins with `prefix`, in the order of the keys, the newest first.
    pub(super) fn all_versions(&self, bucket: &str, prefix: &str) -> S3Result<Vec<Version>> {
        let database = self.lock();
        versioning(&database, bucket)?;
        let query = format!(
            "SELECT {COLUMNS}, key, sequence = (SELECT max(sequence) FROM object WHERE bucket = this.bucket AND key = this.key)
             FROM object AS this WHERE bucket = ?1 AND substr(key, 1, length(?2)) = ?2
             ORDER BY key, sequence DESC"
        );
        let mut statement = database.prepare(&query).map_err(internal)?;
        let version =
            |row: &Row<'_>| Ok(Version { object: read_object(row)?, key: row.get(6)?, is_latest: row.get(7)? });
        let found = statement.query_map(params![bucket, prefix], version).map_err(internal)?;
        found.collect::<rusqlite::Result<_>>().map_err(internal)
    }

    pub(super) fn blobs(&self) -> PathBuf {
        self.folder.join("blobs")
    }

    pub(super) fn remove_blob(&self, blob: Option<String>) {
        if let Some(blob) = blob {
            // A file that remains only costs space. Open downloads of it continue.
            let _ = std::fs::remove_file(self.blobs().join(blob));
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic under the lock rolls its transaction back, so the data is consistent.
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An internal error. Its cause is logged here and not sent to the client.
pub(super) fn internal(error: impl std::fmt::Display) -> S3Error {
    tracing::error!(%error, "the local S3 failed");
    S3Error::with_message(S3ErrorCode::InternalError, "the local S3 failed; its log says why")
}

fn connect(folder: &Path, keep: Keep) -> Result<Connection> {
    let connected = || {
        let database = match keep {
            Keep::WhileRunning => Connection::open_in_memory()?,
            Keep::OnDisk => Connection::open(folder.join("s3.sqlite"))?,
        };
        database.execute_batch("PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF;")?;
        database.execute_batch(SCHEMA)?;
        database.execute_batch(parts::SCHEMA)?;
        Ok(database)
    };
    connected().map_err(|error: rusqlite::Error| Error::Database { service: "S3", source: error.into() })
}

pub(super) fn begin(database: &mut Connection) -> S3Result<Transaction<'_>> {
    database.transaction_with_behavior(TransactionBehavior::Immediate).map_err(internal)
}

pub(super) fn versioning(database: &Connection, bucket: &str) -> S3Result<Option<String>> {
    let found = database.query_row("SELECT versioning FROM bucket WHERE name = ?1", [bucket], |row| row.get(0));
    found.optional().map_err(internal)?.ok_or_else(|| s3_error!(NoSuchBucket))
}

pub(super) fn new_version(versioning: Option<&str>) -> String {
    if versioning == Some(ENABLED) { uuid::Uuid::new_v4().simple().to_string() } else { NULL_VERSION.to_owned() }
}

fn readable(database: &Connection, bucket: &str, key: &str, version: Option<&str>) -> S3Result<Object> {
    versioning(database, bucket)?;
    let Some(version) = version else {
        let object = newest(database, bucket, key)?.filter(|object| !object.is_delete_marker());
        return object.ok_or_else(|| s3_error!(NoSuchKey));
    };
    let object = find(database, bucket, key, version)?.ok_or_else(|| s3_error!(NoSuchVersion))?;
    if object.is_delete_marker() { Err(s3_error!(MethodNotAllowed)) } else { Ok(object) }
}

fn newest(database: &Connection, bucket: &str, key: &str) -> S3Result<Option<Object>> {
    let query = format!("SELECT {COLUMNS} FROM object WHERE bucket = ?1 AND key = ?2 ORDER BY sequence DESC LIMIT 1");
    database.query_row(&query, params![bucket, key], read_object).optional().map_err(internal)
}

fn find(database: &Connection, bucket: &str, key: &str, version: &str) -> S3Result<Option<Object>> {
    let query = format!("SELECT {COLUMNS} FROM object WHERE bucket = ?1 AND key = ?2 AND version = ?3");
    database.query_row(&query, params![bucket, key, version], read_object).optional().map_err(internal)
}

/// Removes the version `null` from the catalog and returns its file.
fn forget_null(database: &Connection, bucket: &str, key: &str) -> S3Result<Option<String>> {
    let statement = "DELETE FROM object WHERE bucket = ?1 AND key = ?2 AND version = ?3 RETURNING blob";
    let deleted = database.query_row(statement, params![bucket, key, NULL_VERSION], |row| row.get(0));
    Ok(deleted.optional().map_err(internal)?.flatten())
}

pub(super) fn insert(database: &Connection, bucket: &str, key: &str, object: &Object) -> S3Result<()> {
    let statement = "INSERT INTO object (bucket, key, version, etag, size_bytes, modified_s, description, blob)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    let description = serde_json::to_string(&object.description).map_err(internal)?;
    let size_bytes = signed(object.size_bytes);
    let values =
        params![bucket, key, object.version, object.etag, size_bytes, object.modified_s, description, object.blob];
    database.execute(statement, values).map_err(internal)?;
    Ok(())
}

fn read_object(row: &Row<'_>) -> rusqlite::Result<Object> {
    let description: String = row.get(4)?;
    Ok(Object {
        version: row.get(0)?,
        etag: row.get(1)?,
        size_bytes: row.get::<_, i64>(2)?.unsigned_abs(),
        modified_s: row.get(3)?,
        // An older program may have written other fields; the bytes are still valid.
        description: serde_json::from_str(&description).unwrap_or_default(),
        blob: row.get(5)?,
    })
}
