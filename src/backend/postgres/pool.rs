//! The connections of a reader.

use r2d2::{ManageConnection, NopErrorHandler, PooledConnection};

use super::{error::PostgresError, link::Link, options::Options};

/// Connections that are made when they are needed and kept.
pub(super) type Pool = r2d2::Pool<Connect>;

/// Makes connections.
#[derive(Debug)]
pub(super) struct Connect(Options);

impl ManageConnection for Connect {
    type Connection = Link;
    type Error = PostgresError;

    fn connect(&self) -> Result<Link, PostgresError> {
        Link::open(&self.0)
    }

    fn is_valid(&self, link: &mut Link) -> Result<(), PostgresError> {
        link.batch("")
    }

    fn has_broken(&self, link: &mut Link) -> bool {
        link.is_broken()
    }
}

/// As many as the options say.
pub(super) fn open(options: Options) -> Result<Pool, PostgresError> {
    Ok(r2d2::Pool::builder()
        .min_idle(Some(options.min_size))
        .max_size(options.max_size)
        .connection_timeout(options.pool_timeout)
        // The first statement of a query tells as much.
        .test_on_check_out(false)
        .error_handler(Box::new(NopErrorHandler))
        .build_unchecked(Connect(options)))
}

/// A connection that answers.
pub(super) fn get(pool: &Pool, place: &str) -> Result<PooledConnection<Connect>, PostgresError> {
    pool.get().map_err(|error| PostgresError::Pool {
        place: place.to_owned(),
        problem: format!(
            "{error} (max_pool_size is {}, pool_timeout {:?})",
            pool.max_size(),
            pool.connection_timeout()
        ),
    })
}
