//! From a file and the environment to a `NodeConfig`, and secrets from their files.
//!
//! Precedence: environment, file, default. An error names the file, the line and the key, and never
//! repeats a line, because the line may hold a secret.

use crate::config::{NodeConfig, Secret, TokenEntry};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Prefix of environment variables: `HOLDFAST__HTTP__LISTEN=127.0.0.1:7080`.
pub const ENV_PREFIX: &str = "HOLDFAST__";

/// Longest secret or token file that is read.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// Why there is no configuration. Every variant says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("cannot read {file}: {why}")]
    Read { file: PathBuf, why: String },
    #[error("{file}:{line}:{column}: {why}")]
    Syntax {
        file: PathBuf,
        line: usize,
        column: usize,
        why: String,
    },
    #[error("environment variable {name}: {why}")]
    Env { name: String, why: String },
    #[error("{key}: {file} can be read by everybody; run `chmod o-rwx {file}`")]
    OpenSecret { key: &'static str, file: PathBuf },
    #[error("{key}: {why}")]
    Secret { key: &'static str, why: String },
    /// All that is wrong with the values, not only the first.
    #[error("{}", .0.join("\n"))]
    Invalid(Vec<String>),
}

impl NodeConfig {
    /// Reads the file, lays the environment over it, reads the secret files and checks all values.
    pub fn load(file: &Path) -> Result<NodeConfig, ConfigError> {
        let env = std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        });
        let config = Self::load_with(file, env)?;
        let problems = config.validate();
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Invalid(problems))
        }
    }

    /// As `load`, with the environment given and the values not yet checked.
    pub fn load_with(
        file: &Path,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<NodeConfig, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Read {
            file: file.into(),
            why: error.to_string(),
        })?;
        let mut config = Self::parse(&text, file, env)?;
        config.read_secrets()?;
        Ok(config)
    }

    /// From the text of a file and an environment; reads nothing else.
    pub fn parse(
        text: &str,
        file: &Path,
        env: impl Iterator<Item = (String, String)>,
    ) -> Result<NodeConfig, ConfigError> {
        let syntax = |error: toml::de::Error| {
            let at = error.span().map_or(0, |span| span.start.min(text.len()));
            let before = text.get(..at).unwrap_or_default();
            ConfigError::Syntax {
                file: file.into(),
                line: before.matches('\n').count() + 1,
                column: before.len() - before.rfind('\n').map_or(0, |n| n + 1) + 1,
                why: error.message().trim().replace('\n', " "),
            }
        };
        let mut config: NodeConfig = toml::from_str(text).map_err(syntax)?;
        let mut table: toml::Table = toml::from_str(text).map_err(syntax)?;
        let mut overlays: Vec<_> = env
            .filter(|(name, _)| name.starts_with(ENV_PREFIX))
            .collect();
        overlays.sort();
        for (name, value) in overlays {
            (table, config) = overlay(table, &name, &value)?;
        }
        Ok(config)
    }

    /// Fills `secret`, `password` and `tokens` from their files.
    fn read_secrets(&mut self) -> Result<(), ConfigError> {
        if let Some(file) = &self.cluster.secret_file {
            let text = read_secret("cluster.secret_file", file)?;
            self.cluster.secret = Some(Secret::new(text.trim()));
        }
        if let Some(asterisk) = &mut self.asterisk
            && let Some(file) = &asterisk.password_file
        {
            let text = read_secret("asterisk.password_file", file)?;
            asterisk.password = Some(Secret::new(text.trim_end_matches(['\r', '\n'])));
        }
        for other in &mut self.takeover {
            if let Some(file) = &other.password_file {
                let text = read_secret("takeover.password_file", file)?;
                other.password = Some(Secret::new(text.trim_end_matches(['\r', '\n'])));
            }
        }
        if let Some(file) = &self.http.tokens_file {
            let text = read_secret("http.tokens_file", file)?;
            self.http.tokens.extend(read_tokens(&text)?);
        }
        Ok(())
    }
}

/// Lays one variable over the table. The value is taken as a string where that fits the key, and
/// else as TOML (numbers, lists).
fn overlay(
    table: toml::Table,
    name: &str,
    value: &str,
) -> Result<(toml::Table, NodeConfig), ConfigError> {
    let bad = |why: String| ConfigError::Env {
        name: name.into(),
        why,
    };
    let path: Vec<String> = name[ENV_PREFIX.len()..]
        .split("__")
        .map(str::to_ascii_lowercase)
        .collect();
    let [section, key] = path.as_slice() else {
        return Err(bad(format!("write it as {ENV_PREFIX}SECTION__KEY")));
    };
    let literal = toml::from_str::<toml::Table>(&format!("v = {value}"))
        .ok()
        .and_then(|mut table| table.remove("v"));
    let mut why = String::new();
    for candidate in [Some(toml::Value::String(value.into())), literal]
        .into_iter()
        .flatten()
    {
        let mut table = table.clone();
        let entry = table
            .entry(section.clone())
            .or_insert_with(|| toml::Table::new().into());
        let Some(inner) = entry.as_table_mut() else {
            return Err(bad(format!("{section} is no section")));
        };
        inner.insert(key.clone(), candidate);
        match table.clone().try_into::<NodeConfig>() {
            Ok(config) => return Ok((table, config)),
            Err(error) => why = error.message().trim().replace('\n', " "),
        }
    }
    Err(bad(why))
}

fn read_secret(key: &'static str, file: &Path) -> Result<String, ConfigError> {
    let bad = |why: String| ConfigError::Secret { key, why };
    let meta = std::fs::metadata(file)
        .map_err(|error| bad(format!("cannot read {}: {error}", file.display())))?;
    if meta.mode() & 0o007 != 0 {
        return Err(ConfigError::OpenSecret {
            key,
            file: file.into(),
        });
    }
    if meta.len() > SECRET_FILE_BYTES_MAX {
        return Err(bad(format!("{} is longer than 64 KiB", file.display())));
    }
    std::fs::read_to_string(file)
        .map_err(|error| bad(format!("cannot read {}: {error}", file.display())))
}

/// `name:token` or `name:token:read` a line; empty lines and lines that begin with `#` are skipped.
pub(crate) fn read_tokens(text: &str) -> Result<Vec<TokenEntry>, ConfigError> {
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut parts = line.split(':');
        let entry = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(name), Some(token), None, None) => (name, token, false),
            (Some(name), Some(token), Some("read"), None) => (name, token, true),
            _ => {
                return Err(ConfigError::Secret {
                    key: "http.tokens_file",
                    why: format!("line {} is not name:token or name:token:read", number + 1),
                });
            }
        };
        tokens.push(TokenEntry {
            name: entry.0.into(),
            token: Secret::new(entry.1),
            read_only: entry.2,
        });
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn parse(text: &str, env: &[(&str, &str)]) -> Result<NodeConfig, ConfigError> {
        let env = env
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_string()));
        NodeConfig::parse(text, Path::new("node.toml"), env)
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let error = parse("[node]\nname = \"a\"\nnmae = 1\n", &[]).unwrap_err();
        let ConfigError::Syntax { line, why, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(*line, 3);
        assert!(why.contains("nmae") && why.contains("data_dir"), "{why}");
    }

    #[test]
    fn a_secret_of_the_wrong_type_is_not_repeated() {
        let error = parse("[asterisk]\npassword = 90410815\n", &[]).unwrap_err();
        assert!(
            !format!("{error} {error:?}").contains("90410815"),
            "{error}"
        );
        let config = parse("[asterisk]\npassword = \"canary-1\"\n", &[]).unwrap();
        assert!(!format!("{config:?}").contains("canary-1"));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let env = [
            ("HOLDFAST__HTTP__LISTEN", "127.0.0.2:99"),
            ("HOLDFAST__CLUSTER__BOOTSTRAP_EXPECT", "3"),
            ("HOLDFAST__CLUSTER__JOIN", "[\"a:1\", \"b:1\"]"),
            ("HOLDFAST__CLUSTER__SECRET", "1234567890123456"),
            ("UNRELATED", "x"),
        ];
        let config = parse("[http]\nlisten = \"127.0.0.1:1\"\n", &env).unwrap();
        assert_eq!(config.http.listen.to_string(), "127.0.0.2:99");
        assert_eq!(config.cluster.bootstrap_expect, 3);
        assert_eq!(config.cluster.join, ["a:1", "b:1"]);
        assert_eq!(config.cluster.secret.unwrap().expose(), "1234567890123456");
        let error = parse("", &[("HOLDFAST__HTTP__LISTNE", "x")]).unwrap_err();
        assert!(
            error.to_string().contains("HOLDFAST__HTTP__LISTNE"),
            "{error}"
        );
    }

    #[test]
    fn a_secret_file_that_everybody_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("secret");
        std::fs::write(&secret, "0123456789abcdef\n").unwrap();
        let file = dir.path().join("node.toml");
        std::fs::write(&file, format!("[cluster]\nsecret_file = {secret:?}\n")).unwrap();
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o644)).unwrap();
        let error = NodeConfig::load_with(&file, std::iter::empty()).unwrap_err();
        assert!(matches!(error, ConfigError::OpenSecret { .. }), "{error}");
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        let config = NodeConfig::load_with(&file, std::iter::empty()).unwrap();
        assert_eq!(config.cluster.secret.unwrap().expose(), "0123456789abcdef");
    }

    #[test]
    fn passwords_of_other_asterisks_come_from_their_files_and_are_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let secret = dir.path().join("b");
        std::fs::write(&secret, "canary-77\n").unwrap();
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o600)).unwrap();
        let file = dir.path().join("node.toml");
        let text = format!("[[takeover]]\nsystemname = \"b\"\npassword_file = {secret:?}\n");
        std::fs::write(&file, text).unwrap();
        let config = NodeConfig::load_with(&file, std::iter::empty()).unwrap();
        assert_eq!(
            config.takeover[0].password.as_ref().unwrap().expose(),
            "canary-77"
        );
        assert!(!format!("{config:?}").contains("canary-77"));
        std::fs::set_permissions(&secret, PermissionsExt::from_mode(0o604)).unwrap();
        let error = NodeConfig::load_with(&file, std::iter::empty()).unwrap_err();
        assert!(
            error.to_string().starts_with("takeover.password_file"),
            "{error}"
        );
    }

    #[test]
    fn tokens_are_read_line_by_line() {
        let tokens = read_tokens("# ours\nanna:0123456789abcdef\n\nwall:fedcba9876543210:read\n");
        let tokens = tokens.unwrap();
        assert_eq!((tokens.len(), tokens[1].read_only), (2, true));
        assert!(read_tokens("nonsense").is_err());
    }
}
