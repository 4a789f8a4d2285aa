//! What is left of a person in any store: every row of every table, every key and value of both Redis.

use sqlx::AssertSqlSafe;

use crate::database::Database;
use crate::keyspace;
use crate::person::SignedIn;
use crate::stack::Stack;

/// Looks for people.
pub struct Traces;

impl Traces {
    /// Every place that knows the person's id (as text, as hexadecimal digits, as bytes), name or address: `auth.users`,
    /// `redis-state s:{…}`.
    pub async fn of(stack: &Stack, person: &SignedIn) -> Vec<String> {
        let needles = needles(person);
        let mut found = Vec::new();
        for (name, database) in [("auth", &stack.auth_database), ("profile", &stack.profile_database)] {
            found.extend(in_database(name, database, &needles).await);
        }
        for store in [&stack.state, &stack.cache] {
            for entry in keyspace::dump(store).await {
                if needles.iter().any(|needle| entry.contains(needle)) {
                    found.push(format!("{} {}", store.name(), String::from_utf8_lossy(&entry.key)));
                }
            }
        }
        found
    }
}

fn needles(person: &SignedIn) -> Vec<Vec<u8>> {
    let digits = person.id.replace('-', "");
    let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
    let bytes = bytes.collect::<Result<Vec<u8>, _>>().unwrap_or_else(|error| panic!("no id: {error}"));
    let texts = [&person.id, &digits, &person.person.username, &person.person.email];
    texts.into_iter().map(|text| text.clone().into_bytes()).chain([bytes]).collect()
}

/// Rows are looked at as the text that Postgres makes of them, in which bytes are hexadecimal digits.
async fn in_database(name: &str, database: &Database, needles: &[Vec<u8>]) -> Vec<String> {
    let mut connection = database.connect().await;
    let found = async {
        let tables: Vec<String> = sqlx::query_scalar(
            "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables
             WHERE schemaname NOT IN ('pg_catalog', 'information_schema')",
        )
        .fetch_all(&mut connection)
        .await?;
        assert!(!tables.is_empty(), "{name} has no tables");
        let mut found = Vec::new();
        for table in tables {
            let rows = AssertSqlSafe(format!("SELECT lower(t::text) FROM {table} t"));
            let rows = sqlx::query_scalar::<_, String>(rows).fetch_all(&mut connection).await?;
            let knows =
                |row: &String| needles.iter().any(|needle| keyspace::contains(row.as_bytes(), needle));
            if rows.iter().any(knows) {
                found.push(format!("{name}.{}", table.trim_start_matches("public.")));
            }
        }
        Ok::<_, sqlx::Error>(found)
    };
    found.await.unwrap_or_else(|error| panic!("{name} cannot be read: {error}"))
}
