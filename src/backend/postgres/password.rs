//! The password and the user, where the options do not say: the environment and `.pgpass`.

use std::{fs, path::PathBuf};

use super::options::{Options, Password, Server};

/// Looks up a variable of the environment.
pub(super) type Env<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The variable of this process.
pub(super) fn process(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Who connects.
pub(super) fn user(options: &Options, env: Env<'_>) -> String {
    let given = options.user.clone();
    let found = || ["PGUSER", "USER", "LOGNAME"].into_iter().find_map(env);
    given
        .or_else(found)
        .unwrap_or_else(|| "postgres".to_owned())
}

/// The password for one server.
pub(super) fn password(options: &Options, server: &Server, env: Env<'_>) -> Option<Password> {
    if let Some(given) = &options.password {
        return Some(given.clone());
    }
    if let Some(value) = env("PGPASSWORD") {
        return Some(value.into());
    }
    let file = options.passfile.clone();
    let file = file.or_else(|| env("PGPASSFILE").map(PathBuf::from));
    let file = file.or_else(|| Some(PathBuf::from(env("HOME")?).join(".pgpass")))?;
    if !is_private(&file) {
        return None;
    }
    let text = fs::read_to_string(&file).ok()?;
    let host = match server.host.starts_with('/') {
        true => "localhost",
        false => &server.host,
    };
    let wanted = [
        host,
        &server.port.to_string(),
        &options.database,
        &user(options, env),
    ];
    text.lines()
        .find_map(|line| entry(line, wanted))
        .map(Into::into)
}

/// Whether nobody else may read it, as libpq wants it.
fn is_private(path: &std::path::Path) -> bool {
    let Ok(meta) = fs::metadata(path) else {
        return false;
    };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        meta.is_file() && meta.permissions().mode() & 0o077 == 0
    }
    #[cfg(not(unix))]
    meta.is_file()
}

/// The password of a line `host:port:database:user:password`, if its first four fields fit; `*`
/// fits all, and `\` takes the meaning from `:` and `\`.
fn entry(line: &str, wanted: [&str; 4]) -> Option<String> {
    if line.starts_with('#') {
        return None;
    }
    let mut fields = vec![(String::new(), false)];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        let escaped = c == '\\';
        let c = if escaped {
            chars.next().unwrap_or('\\')
        } else {
            c
        };
        let (field, literal) = fields.last_mut()?;
        if c == ':' && !escaped {
            fields.push((String::new(), false));
        } else {
            *literal |= escaped;
            field.push(c);
        }
    }
    let [host, port, database, user, password] = fields.as_slice() else {
        return None;
    };
    let fits = |((field, literal), wanted): (&(String, bool), &str)| {
        field == wanted || field == "*" && !literal
    };
    let mut all = [host, port, database, user].into_iter().zip(wanted);
    match all.all(fits) {
        true => Some(password.0.clone()),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WANTED: [&str; 4] = ["db", "5432", "tele", "me"];

    #[test]
    fn lines_fit_by_field() {
        assert_eq!(
            entry("db:5432:tele:me:secret", WANTED).as_deref(),
            Some("secret")
        );
        assert_eq!(
            entry(r"*:*:*:me:a\:b\\c", WANTED).as_deref(),
            Some(r"a:b\c")
        );
        for line in [
            "#db:5432:tele:me:x",
            "db:5433:*:*:x",
            "",
            "db:5432",
            r"\*:*:*:*:x",
        ] {
            assert_eq!(entry(line, WANTED), None, "{line}");
        }
    }

    #[test]
    fn the_options_come_first_then_the_environment_then_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pass");
        fs::write(
            &file,
            "# mine\nother:*:*:*:no\nlocalhost:5432:*:me:from file\n",
        )
        .unwrap();
        let mut options = Options {
            user: Some("me".into()),
            ..Options::default()
        };
        let server = options.servers[0].clone();
        let named = file.to_str().unwrap().to_owned();
        let env = |name: &str| (name == "PGPASSFILE").then(|| named.clone());
        let ask = |options: &Options, env: Env<'_>| {
            password(options, &server, env).map(|p| p.expose().to_owned())
        };
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
            assert_eq!(ask(&options, &env), None, "others may read it");
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        assert_eq!(ask(&options, &env).as_deref(), Some("from file"));
        let both = |name: &str| match name {
            "PGPASSWORD" => Some("from environment".to_owned()),
            _ => env(name),
        };
        assert_eq!(ask(&options, &both).as_deref(), Some("from environment"));
        options.password = Some("given".into());
        assert_eq!(ask(&options, &both).as_deref(), Some("given"));
    }
}
