//! The modules of `--redis.auth-file`: each is a way to log in, and the files for TLS. There are no passwords in it.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::format::{UniqueMap, parse};
use crate::duration::duration;
use crate::link::{self, Credentials, Password, PasswordCommand, TlsOptions};

/// Maximum number of modules.
const MAX_MODULES: usize = 256;

/// Maximum length of a module's name, in bytes.
const MAX_NAME: usize = 128;

/// The time for which a password that a command printed is used, if none is given. Tokens of most services are valid
/// for 15 minutes or more.
const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// The modules by name.
#[derive(Clone, Debug, Default)]
pub(super) struct AuthModules(BTreeMap<String, AuthModule>);

/// A way to connect to some targets.
#[derive(Clone, Debug)]
pub(super) struct AuthModule {
    /// The credentials; `None` for no `AUTH`.
    pub(super) credentials: Option<Credentials>,
    /// The options for TLS; `None` for those of the command line.
    pub(super) tls: Option<TlsOptions>,
}

/// A module as it is written.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ModuleText {
    user: Option<String>,
    /// Refused with a better sentence than an unknown field.
    password: Option<IgnoredAny>,
    password_file: Option<PathBuf>,
    password_command: Option<CommandText>,
    password_command_ttl: Option<String>,
    tls_ca_file: Option<PathBuf>,
    tls_cert_file: Option<PathBuf>,
    tls_key_file: Option<PathBuf>,
    tls_server_name: Option<String>,
    tls_insecure_skip_verify: Option<bool>,
}

/// A command as it is written.
enum CommandText {
    Args(Vec<String>),
    /// One text, which would need a shell.
    Line,
}

impl<'de> Deserialize<'de> for CommandText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Args;

        impl<'de> Visitor<'de> for Args {
            type Value = CommandText;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of args")
            }

            fn visit_str<E>(self, _: &str) -> Result<CommandText, E> {
                Ok(CommandText::Line)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<CommandText, A::Error> {
                let mut args = Vec::new();
                while let Some(arg) = list.next_element()? {
                    args.push(arg);
                }
                Ok(CommandText::Args(args))
            }
        }

        deserializer.deserialize_any(Args)
    }
}

impl AuthModules {
    /// Reads the modules of a file. A command that is known keeps its password. Relative paths start at the folder of
    /// the file.
    ///
    /// # Errors
    /// All faults.
    pub(super) fn parse(file: &Path, text: &str, known: &Self) -> Result<Self, Vec<String>> {
        let form = "names of modules, each with user, password_file or password_command, and tls_… files";
        let UniqueMap(modules) = parse::<UniqueMap<ModuleText>>(file, text, form).map_err(|fault| vec![fault])?;
        if modules.len() > MAX_MODULES {
            return Err(vec![format!("there are {} modules; at most {MAX_MODULES} are read", modules.len())]);
        }
        let folder = file.parent().unwrap_or(Path::new(""));
        let (mut read, mut faults) = (BTreeMap::new(), Vec::new());
        for (number, (name, text)) in (1..).zip(modules) {
            if name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control) {
                faults.push(format!("module {number}: a name has 1 to {MAX_NAME} bytes, without control characters"));
                continue;
            }
            match text.module(folder, known) {
                Ok(module) => {
                    read.insert(name, module);
                }
                Err(fault) => faults.push(format!("module {name}: {fault}")),
            }
        }
        if faults.is_empty() { Ok(Self(read)) } else { Err(faults) }
    }

    /// The module with this name.
    pub(super) fn get(&self, name: &str) -> Option<&AuthModule> {
        self.0.get(name)
    }

    /// The names of the modules.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// The same command, with the password that it printed last.
    fn known(&self, command: PasswordCommand) -> Arc<PasswordCommand> {
        let passwords = self.0.values().filter_map(|module| Some(&module.credentials.as_ref()?.password));
        let mut commands = passwords.filter_map(|password| match password {
            Password::Command(command) => Some(command),
            Password::Given(_) | Password::File(_) => None,
        });
        commands.find(|known| known.is_same(&command)).cloned().unwrap_or_else(|| Arc::new(command))
    }
}

impl ModuleText {
    fn module(self, folder: &Path, known: &AuthModules) -> Result<AuthModule, String> {
        let password = self.password(folder, known)?;
        if self.user.is_some() && password.is_none() {
            return Err("a user without a password; add password_file or password_command".to_owned());
        }
        let tls = self.tls(folder)?;
        let credentials = password.map(|password| Credentials { user: self.user, password });
        if credentials.is_none() && tls.is_none() {
            return Err("it is empty; add password_file, password_command or tls_… options".to_owned());
        }
        Ok(AuthModule { credentials, tls })
    }

    fn password(&self, folder: &Path, known: &AuthModules) -> Result<Option<Password>, String> {
        if self.password.is_some() {
            return Err("a password cannot be in this file; write it to a file of its own, and name that as \
                password_file"
                .to_owned());
        }
        if self.password_command_ttl.is_some() && self.password_command.is_none() {
            return Err("password_command_ttl is given without password_command; add it".to_owned());
        }
        match (&self.password_file, &self.password_command) {
            (Some(_), Some(_)) => Err("password_file and password_command are both given; remove one".to_owned()),
            (None, None) => Ok(None),
            (Some(file), None) => {
                let file = folder.join(file);
                // A pipe can be read only once, and its content is needed for the first connect.
                let is_pipe = file.metadata().is_ok_and(|file| !file.is_file());
                if !is_pipe {
                    link::check_password_file(&file).map_err(|fault| format!("password_file: {fault}"))?;
                }
                Ok(Some(Password::File(file)))
            }
            (None, Some(command)) => {
                let ttl = self.password_command_ttl.as_deref().map_or(Ok(DEFAULT_TTL), duration);
                let ttl = ttl.map_err(|fault| format!("password_command_ttl: {fault}"))?;
                let command = PasswordCommand::new(args(command, folder)?, ttl);
                Ok(Some(Password::Command(known.known(command))))
            }
        }
    }

    fn tls(&self, folder: &Path) -> Result<Option<TlsOptions>, String> {
        let path = |file: &Option<PathBuf>| file.as_ref().map(|file| folder.join(file));
        let client = match (path(&self.tls_cert_file), path(&self.tls_key_file)) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            (Some(_), None) => return Err("tls_cert_file is given without tls_key_file; add it".to_owned()),
            (None, Some(_)) => return Err("tls_key_file is given without tls_cert_file; add it".to_owned()),
        };
        if self.tls_server_name.as_ref().is_some_and(|name| !link::is_server_name(name)) {
            return Err("tls_server_name: this is not a host name or IP address; example: redis.example.com".to_owned());
        }
        let tls = TlsOptions {
            ca: path(&self.tls_ca_file),
            client,
            server_name: self.tls_server_name.clone(),
            insecure_skip_verify: self.tls_insecure_skip_verify.unwrap_or_default(),
        };
        if tls == TlsOptions::default() {
            return Ok(None);
        }
        link::tls_config(&tls).map_err(|fault| format!("tls_…: {fault}"))?;
        Ok(Some(tls))
    }
}

/// The args of a command. A program with a relative path is below the folder; one without a path is found in `PATH`.
fn args(command: &CommandText, folder: &Path) -> Result<Vec<String>, String> {
    let CommandText::Args(args) = command else {
        return Err("password_command is a list of args, without a shell; write [aws-token, my-cache], or [sh, -c, …]"
            .to_owned());
    };
    let mut args = args.clone();
    let Some(program) = args.first_mut().filter(|program| !program.is_empty()) else {
        return Err("password_command is empty; write the program and its args as a list".to_owned());
    };
    if program.contains('/') {
        *program = folder.join(&*program).display().to_string();
    }
    Ok(args)
}
