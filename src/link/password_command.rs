//! Passwords that a command prints, for tokens that expire: runs the command, bounds it, and keeps what it printed for
//! some time.

use std::fmt;
use std::process::Stdio;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use secrecy::{ExposeSecret, SecretString};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use crate::text::escaped;

/// The time that a command may take, until its last output.
const MAX_TIME: Duration = Duration::from_secs(10);

/// The shortest time between two runs when the password is refused or the command fails.
const MIN_PAUSE: Duration = Duration::from_secs(5);

/// Maximum size of the password that a command prints, and of the part of its standard error that is read, in bytes.
const MAX_OUTPUT: u64 = 64 << 10;

/// Maximum length of the part of its standard error that is logged, in characters.
const MAX_LOGGED_CHARS: usize = 500;

/// Maximum number of commands that run at the same time.
const MAX_RUNNING: usize = 8;

/// A command that prints a password, with the password that it printed last. It is run without a shell.
pub struct PasswordCommand {
    args: Vec<String>,
    /// The time for which a printed password is used.
    ttl: Duration,
    runs: Mutex<CommandRuns>,
    /// The last failure that was logged.
    logged: std::sync::Mutex<String>,
}

/// The runs of a command.
#[derive(Default)]
struct CommandRuns {
    last: Option<CommandRun>,
    /// The last password that was printed, and when.
    printed: Option<(Instant, SecretString)>,
}

impl CommandRuns {
    /// The last password, which a server may refuse and others accept: a failed run does not take it from those.
    fn printed(&self, ttl: Duration, refused: Option<&SecretString>) -> Option<SecretString> {
        let (at, password) = self.printed.as_ref()?;
        (at.elapsed() < ttl && !is_refused(password, refused)).then(|| password.clone())
    }
}

fn is_refused(password: &SecretString, refused: Option<&SecretString>) -> bool {
    refused.is_some_and(|refused| refused.expose_secret() == password.expose_secret())
}

/// A run of a command.
struct CommandRun {
    ended: Instant,
    result: Result<SecretString, String>,
}

impl CommandRun {
    /// Returns true if the result is used once more. `refused` is a password that the server has refused.
    fn is_usable(&self, ttl: Duration, refused: Option<&SecretString>) -> bool {
        let max_age = match &self.result {
            Ok(password) if !is_refused(password, refused) => ttl,
            _ => MIN_PAUSE,
        };
        self.ended.elapsed() < max_age
    }
}

impl PasswordCommand {
    /// A command, the program first. There must be at least one arg.
    pub fn new(args: Vec<String>, ttl: Duration) -> Self {
        Self { args, ttl, runs: Mutex::default(), logged: std::sync::Mutex::default() }
    }

    /// Returns true if the other one runs the same command as often.
    pub fn is_same(&self, other: &Self) -> bool {
        self.args == other.args && self.ttl == other.ttl
    }

    /// The current password. If there is one that the server has refused, the command is run again, unless it has just
    /// been.
    ///
    /// # Errors
    /// A sentence without anything that the command printed.
    pub(super) async fn password(self: &Arc<Self>, refused: Option<SecretString>) -> Result<SecretString, String> {
        let this = Arc::clone(self);
        // A task of its own: the time-out of a connect neither ends the command, nor discards what it prints.
        let task = tokio::spawn(async move { this.current(refused).await });
        task.await.unwrap_or_else(|error| Err(error.to_string()))
    }

    async fn current(&self, refused: Option<SecretString>) -> Result<SecretString, String> {
        // The links of a module wait for one run.
        let mut runs = self.runs.lock().await;
        let or_printed = |result: Result<SecretString, String>, runs: &CommandRuns| {
            result.or_else(|fault| runs.printed(self.ttl, refused.as_ref()).ok_or(fault))
        };
        if let Some(run) = &runs.last
            && run.is_usable(self.ttl, refused.as_ref())
        {
            return or_printed(run.result.clone(), &runs);
        }
        let (result, stderr) = match run(&self.args).await {
            Ok(Output { password, stderr }) => (password, stderr),
            Err(fault) => (Err(fault), String::new()),
        };
        self.log(result.as_ref().err(), &stderr);
        if let Ok(password) = &result {
            runs.printed = Some((Instant::now(), password.clone()));
        }
        runs.last = Some(CommandRun { ended: Instant::now(), result: result.clone() });
        or_printed(result, &runs)
    }

    /// Logs changes only. The standard error is not part of the failure, since pages show that.
    fn log(&self, fault: Option<&String>, stderr: &str) {
        let program = &*self.args[0];
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(fault) = fault else {
            logged.clear();
            debug!(program, stderr, "a password command succeeded");
            return;
        };
        if *logged != *fault {
            warn!(program, stderr, "a password command failed: {fault}");
            logged.clone_from(fault);
        }
    }
}

impl fmt::Debug for PasswordCommand {
    /// Without the args, which may hold secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PasswordCommand").field("program", &self.args[0]).finish_non_exhaustive()
    }
}

/// The output of a command that has ended.
struct Output {
    password: Result<SecretString, String>,
    stderr: String,
}

/// Kills a process with all that it has started, unless it has ended. Must be dropped before the process is waited for,
/// since its id may then be that of another one.
struct KillGroup(Option<Pid>);

impl Drop for KillGroup {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may have ended.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn run(args: &[String]) -> Result<Output, String> {
    static RUNNING: Semaphore = Semaphore::const_new(MAX_RUNNING);
    let _permit = match timeout(MAX_TIME, RUNNING.acquire()).await {
        Ok(Ok(permit)) => permit,
        _ => return Err("too many other password commands were running".to_owned()),
    };
    let mut command = Command::new(&args[0]);
    command.args(&args[1..]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // The passwords of other servers.
    command.env_remove("REDIS_PASSWORD").env_remove("REDIS_ADDR");
    command.process_group(0).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("{} cannot be run: {error}", args[0]))?;
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    // After the child, so that it is dropped first.
    let mut group = KillGroup(pid);
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let answer = async {
        let (stdout, stderr) = tokio::join!(read(stdout), read(stderr));
        if stdout.len() as u64 > MAX_OUTPUT {
            return Err(format!("{} printed more than {MAX_OUTPUT} bytes", args[0]));
        }
        let status = child.wait().await.map_err(|error| error.to_string())?;
        Ok((stdout, stderr, status))
    };
    let (stdout, stderr, status) = timeout(MAX_TIME, answer)
        .await
        .map_err(|_| format!("{} did not end within {} s and was killed", args[0], MAX_TIME.as_secs()))??;
    group.0 = None;
    let stderr = escaped(&stderr).chars().take(MAX_LOGGED_CHARS).collect();
    let password = match status.success() {
        true => password(stdout).map_err(|fault| format!("{} {fault}", args[0])),
        false => Err(format!("{} failed with {status}", args[0])),
    };
    Ok(Output { password, stderr })
}

/// Reads an output until its end, or a little more than its limit. It is closed then.
async fn read(output: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let mut text = Vec::new();
    if let Some(output) = output {
        // What was read before an error is used.
        let _ = output.take(MAX_OUTPUT + 1).read_to_end(&mut text).await;
    }
    text
}

/// The password in a standard output: one line, without its end.
fn password(stdout: Vec<u8>) -> Result<SecretString, &'static str> {
    let mut text = String::from_utf8(stdout).map_err(|_| "printed a password that is not UTF-8")?;
    text.truncate(text.trim_end_matches(['\n', '\r']).len());
    match text {
        text if text.is_empty() => Err("printed no password"),
        text if text.contains(['\n', '\r']) => Err("printed more than one line; print the password only"),
        text => Ok(text.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn command(script: &str, ttl: Duration) -> Arc<PasswordCommand> {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        Arc::new(PasswordCommand::new(args, ttl))
    }

    async fn answer(script: &str) -> Result<String, String> {
        let password = command(script, MAX_TIME).password(None).await?;
        Ok(password.expose_secret().to_owned())
    }

    #[tokio::test]
    async fn one_line_is_a_password_and_all_else_is_a_fault_without_what_was_printed() {
        assert_eq!(answer("echo 'a b'").await.as_deref(), Ok("a b"));
        assert_eq!(answer("printf 'a\\r\\n\\n'").await.as_deref(), Ok("a"));
        for (script, fault) in [
            ("echo hush; exit 3", "exit status: 3"),
            ("echo hush; echo hush", "more than one line"),
            ("true", "printed no password"),
            ("printf '\\377hush'", "not UTF-8"),
            ("yes hush", "more than 65536 bytes"),
            ("echo hush; kill -9 $$", "signal: 9"),
        ] {
            let error = answer(script).await.expect_err(script);
            assert!(error.contains(fault) && !error.contains("hush"), "{script}: {error}");
        }
        let missing = Arc::new(PasswordCommand::new(vec!["/nowhere/token".to_owned()], MAX_TIME));
        let error = missing.password(None).await.expect_err("no such program");
        assert!(error.contains("/nowhere/token cannot be run"), "{error}");
        assert!(!format!("{:?}", command("echo hush", MAX_TIME)).contains("hush"));
    }

    /// Prints the number of its runs.
    fn counting(file: &Path) -> String {
        format!("echo run >> '{0}'; wc -l < '{0}'", file.display())
    }

    #[tokio::test]
    async fn a_password_is_used_for_its_time_by_all_links_and_renewed_once_when_it_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let kept = command(&counting(&folder.path().join("kept")), Duration::from_secs(3600));
        let ask = |refused: Option<&str>| {
            let (kept, refused) = (Arc::clone(&kept), refused.map(SecretString::from));
            tokio::spawn(async move { kept.password(refused).await.expect("a password").expose_secret().to_owned() })
        };
        let (one, other) = (ask(None), ask(None));
        assert_eq!((one.await.expect("1"), other.await.expect("1")), ("1".to_owned(), "1".to_owned()), "one run");
        // Refused so soon that another run would print the same.
        assert_eq!(ask(Some("1")).await.expect("1"), "1");
        kept.runs.lock().await.last.as_mut().expect("a run").ended -= MIN_PAUSE;
        assert_eq!(ask(Some("0")).await.expect("1"), "1", "an older one was refused");
        assert_eq!(ask(Some("1")).await.expect("2"), "2");
        let never_kept = command(&counting(&folder.path().join("never")), Duration::ZERO);
        for run in ["1", "2"] {
            assert_eq!(never_kept.password(None).await.expect("a password").expose_secret(), run);
        }
    }

    /// A server that refuses it must not take the password from the others of the module.
    #[tokio::test]
    async fn a_failed_run_does_not_replace_a_password_that_others_use() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("once").display().to_string();
        let once = command(&format!("test ! -e '{file}' && touch '{file}' && echo good"), MAX_TIME);
        let ask = async |refused: Option<&str>| {
            let password = once.password(refused.map(SecretString::from)).await;
            password.map(|password| password.expose_secret().to_owned())
        };
        assert_eq!(ask(None).await.as_deref(), Ok("good"));
        once.runs.lock().await.last.as_mut().expect("a run").ended -= MIN_PAUSE;
        assert!(ask(Some("good")).await.is_err(), "it was refused, and there is no other");
        assert_eq!(ask(None).await.as_deref(), Ok("good"));
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed_with_all_that_it_started() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("pids");
        // The grandchild keeps standard output open after its parent has ended.
        let script = format!("sleep 3600 & echo $! > '{}'; echo hush", file.display());
        let began = Instant::now();
        let error = answer(&script).await.expect_err("it hangs");
        assert!(error.contains("was killed") && began.elapsed() >= MAX_TIME, "{error}");
        let pid = fs::read_to_string(&file).expect("its id");
        let stat = format!("/proc/{}/stat", pid.trim());
        // A killed process stays until its parent, which is the init process now, has waited for it.
        let is_running = || fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z"));
        // Only a hang takes this long.
        for _ in 0..6000 {
            if !is_running() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it is still running");
    }
}
