//! Checks the whole trail: every hash again, without gaps from the first entry to the head, in one snapshot and bounded memory.

use sqlx::postgres::PgConnection;

use super::chain::{Head, Row};

/// Rows in memory at most.
const BATCH: i64 = 1000;

/// A trail in which nothing was changed, as far as it can tell itself.
#[derive(Debug, PartialEq, Eq)]
pub struct Intact {
    pub head: Head,
    /// Entries whose personal fields were erased, each accounted for by another entry.
    pub erased: i64,
}

/// What is wrong with a trail, at the first place where something is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("entry {0} is missing")]
    Missing(i64),
    #[error("entry {0} does not follow from the one before it: one of the two was changed")]
    Changed(i64),
    #[error("the personal fields of entry {0} were changed")]
    FieldsChanged(i64),
    #[error("entry {0} is half erased: its salt is gone, its personal fields are not")]
    HalfErased(i64),
    #[error("{rows} entries are erased, {accounted} were erased by what the trail tells of")]
    ErasedUnaccounted { rows: i64, accounted: i64 },
    #[error("entry {0} was added behind the head, or the head was set back")]
    BehindHead(i64),
    #[error("the entries after {found} are cut off: the head is at {expected}")]
    CutOff { found: i64, expected: i64 },
    #[error("the head is missing")]
    NoHead,
    #[error("the head was changed")]
    HeadChanged,
    #[error("the trail ends at {found}, before the head that was kept, {kept}: it was cut off")]
    KeptCutOff { found: i64, kept: i64 },
    #[error("entry {0} is not the one whose head was kept: the trail was written anew")]
    KeptDiffers(i64),
}

/// The end of the trail, to be kept elsewhere.
pub async fn head(connection: &mut PgConnection) -> sqlx::Result<Result<Head, Fault>> {
    let row = sqlx::query!("SELECT seq, hash FROM audit_head").fetch_optional(connection).await?;
    Ok(row.map_or(Err(Fault::NoHead), |row| {
        let hash = row.hash.try_into().map_err(|_| Fault::HeadChanged)?;
        Ok(Head { seq: row.seq, hash })
    }))
}

/// Checks that the trail is whole, and that the `kept` heads are part of it.
pub async fn verify(connection: &mut PgConnection, kept: &[Head]) -> sqlx::Result<Result<Intact, Fault>> {
    // What is added meanwhile, and what is erased, is no business of this check.
    sqlx::query("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY").execute(&mut *connection).await?;
    let outcome = check(&mut *connection, kept).await;
    sqlx::query("COMMIT").execute(connection).await?;
    outcome
}

async fn check(connection: &mut PgConnection, kept: &[Head]) -> sqlx::Result<Result<Intact, Fault>> {
    let head = match head(&mut *connection).await? {
        Ok(head) => head,
        Err(fault) => return Ok(Err(fault)),
    };
    let mut walk = Walk { at: Head::START, erased: 0, accounted: 0, end: head, kept };
    if let Err(fault) = walk.compare_kept() {
        return Ok(Err(fault));
    }
    let mut after = i64::MIN;
    loop {
        let rows = rows_after(&mut *connection, after).await?;
        let Some(last) = rows.last() else { return Ok(walk.finish()) };
        after = last.seq;
        if let Err(fault) = rows.iter().try_for_each(|row| walk.step(row)) {
            return Ok(Err(fault));
        }
    }
}

async fn rows_after(connection: &mut PgConnection, seq: i64) -> sqlx::Result<Vec<Row>> {
    sqlx::query_as!(
        Row,
        "SELECT seq, CASE WHEN isfinite(at) THEN (extract(epoch FROM at) * 1000000)::bigint END AS at_micros,
                event, erased, digest, hash, salt, user_id, session_id, address, user_agent
         FROM audit_log WHERE seq > $1 ORDER BY seq LIMIT $2",
        seq,
        BATCH
    )
    .fetch_all(connection)
    .await
}

/// How far the check has come.
struct Walk<'a> {
    at: Head,
    erased: i64,
    accounted: i64,
    end: Head,
    kept: &'a [Head],
}

impl Walk<'_> {
    fn step(&mut self, row: &Row) -> Result<(), Fault> {
        let expected = self.at.seq + 1;
        if row.seq < expected {
            return Err(Fault::Changed(row.seq));
        }
        if row.seq > expected {
            return Err(if expected > self.end.seq {
                Fault::BehindHead(row.seq)
            } else {
                Fault::Missing(expected)
            });
        }
        if row.seq > self.end.seq {
            return Err(Fault::BehindHead(row.seq));
        }
        let hash = row.expected_hash(&self.at.hash).filter(|hash| row.hash == hash);
        let hash = hash.ok_or(Fault::Changed(row.seq))?;
        match row.expected_digest() {
            Some(digest) if row.digest == digest => {}
            Some(_) => return Err(Fault::FieldsChanged(row.seq)),
            None if row.holds_personal_fields() => return Err(Fault::HalfErased(row.seq)),
            None => self.erased += 1,
        }
        self.accounted = self.accounted.saturating_add(row.erased);
        self.at = Head { seq: row.seq, hash };
        self.compare_kept()
    }

    fn compare_kept(&self) -> Result<(), Fault> {
        let here = self.kept.iter().filter(|kept| kept.seq == self.at.seq);
        if here.into_iter().any(|kept| kept.hash != self.at.hash) {
            return Err(Fault::KeptDiffers(self.at.seq));
        }
        Ok(())
    }

    fn finish(self) -> Result<Intact, Fault> {
        if self.at.seq < self.end.seq {
            return Err(Fault::CutOff { found: self.at.seq, expected: self.end.seq });
        }
        if self.at.hash != self.end.hash {
            return Err(Fault::HeadChanged);
        }
        if let Some(kept) = self.kept.iter().find(|kept| kept.seq > self.at.seq) {
            return Err(Fault::KeptCutOff { found: self.at.seq, kept: kept.seq });
        }
        if self.erased != self.accounted {
            return Err(Fault::ErasedUnaccounted { rows: self.erased, accounted: self.accounted });
        }
        Ok(Intact { head: self.at, erased: self.erased })
    }
}
