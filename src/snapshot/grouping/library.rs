//! The application that a client library's name implies. Pure.
//!
//! Libraries put the driver that wraps them into parentheses, with its version: `redis-py(django-redis_v5.4.0)`
//! (redis-py, Jedis and Lettuce: `DriverInfo`; Redis documents the form with CLIENT SETINFO). The driver is nearer to
//! the application than the library. Versions are left out, so that an upgrade does not split an application.

/// The library's name or a driver's, without version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LibraryApp<'a> {
    pub(super) name: &'a [u8],
    pub(super) is_driver: bool,
}

/// Platforms and libraries that stand in parentheses below another library: `NRedisStack(SE.Redis-v2.8;.NET-8.0)`.
const PLATFORMS: [&[u8]; 10] =
    [b"SE.Redis", b".NET", b"go", b"python", b"node", b"deno", b"bun", b"java", b"ruby", b"php"];

/// Returns the first driver that the name lists, else the library. DriverInfo lists the driver added last first,
/// which is the one nearest to the application.
pub(super) fn library_app(library: &[u8]) -> LibraryApp<'_> {
    let Some((base, drivers)) = parenthesized(library) else {
        return LibraryApp { name: without_version(library), is_driver: false };
    };
    let names = drivers.split(|&byte| byte == b';').map(driver);
    match names.flatten().find(|name| !is_platform(name)) {
        Some(name) => LibraryApp { name, is_driver: true },
        None => LibraryApp { name: without_version(base), is_driver: false },
    }
}

/// Splits `base(drivers)`. Nested parentheses have no drivers; other text is not split.
fn parenthesized(library: &[u8]) -> Option<(&[u8], &[u8])> {
    let open = library.iter().position(|&byte| byte == b'(').filter(|&open| open > 0)?;
    let drivers = library[open + 1..].strip_suffix(b")")?;
    let is_nested = drivers.iter().any(|byte| matches!(byte, b'(' | b')'));
    Some((&library[..open], if is_nested { b"" } else { drivers }))
}

/// The name of one driver. go-redis writes `name,go1.24.4`, and nothing before the comma if it has no name.
fn driver(entry: &[u8]) -> Option<&[u8]> {
    let name = entry.split(|&byte| byte == b',').next().unwrap_or_default();
    (!name.is_empty()).then(|| without_version(name))
}

fn is_platform(name: &[u8]) -> bool {
    let end = name.iter().rposition(|byte| !byte.is_ascii_digit() && *byte != b'.').map_or(0, |last| last + 1);
    PLATFORMS.contains(&&name[..end])
}

/// Takes `_v1.2`, `-v3.1.0-SNAPSHOT` or `-1.4.2` off the end of a name. A number without `v` and without a dot may be
/// part of the name.
fn without_version(name: &[u8]) -> &[u8] {
    let separators = || (1..name.len()).filter(|&place| b"-_/@:. ".contains(&name[place]));
    let is_digit = |place: usize| name.get(place).is_some_and(u8::is_ascii_digit);
    let with_v =
        separators().rev().find(|&place| matches!(name.get(place + 1), Some(b'v' | b'V')) && is_digit(place + 2));
    let without_v =
        || separators().find(|&place| name[place] != b'.' && is_digit(place + 1) && name[place + 1..].contains(&b'.'));
    with_v.or_else(without_v).map_or(name, |place| &name[..place])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_names_the_application_and_a_platform_does_not() {
        for (library, app, is_driver) in [
            ("redis-py", "redis-py", false),
            ("redis-py(my_v1)", "my", true),
            ("redis-py(django-redis_v5.4.0)", "django-redis", true),
            ("redis-py(apache-airflow_v3.0.1)", "apache-airflow", true),
            ("redis-py(redisvl_v0.4.1;langchain-redis_v0.0.4)", "redisvl", true),
            ("jedis(spring-session_v3.3.0;spring-data-redis_v3.2.0)", "spring-session", true),
            ("Lettuce(spring-data-redis_v3.2.0)", "spring-data-redis", true),
            ("jedis(akka-redis_2.13_v1.0)", "akka-redis_2.13", true),
            ("jedis(my-suffix)", "my-suffix", true),
            ("jedis(sparkr-v3.1.0-SNAPSHOT)", "sparkr", true),
            ("go-redis(,go1.24.4)", "go-redis", false),
            ("go-redis(billing,go1.24.4)", "billing", true),
            ("go-redis(,devel-go1.25-1a2b3c)", "go-redis", false),
            ("NRedisStack(SE.Redis-v2.8;.NET-8.0)", "NRedisStack", false),
            ("SE.Redis", "SE.Redis", false),
            ("node-redis(my-tag)", "my-tag", true),
            ("mylib_v1.2", "mylib", false),
            ("mylib-1.4.2", "mylib", false),
            ("lib-2", "lib-2", false),
            ("x.y.2", "x.y.2", false),
        ] {
            let found = library_app(library.as_bytes());
            assert_eq!((String::from_utf8_lossy(found.name).as_ref(), found.is_driver), (app, is_driver), "{library}");
        }
    }

    #[test]
    fn versions_do_not_split_an_application() {
        for (one, other) in [
            ("redis-py(my_v1)", "redis-py(my_v2.0.1rc1)"),
            ("go-redis(,go1.24.4)", "go-redis(,go1.25.0)"),
            ("NRedisStack(SE.Redis-v2.8;.NET-8.0)", "NRedisStack(SE.Redis-v2.9.1;.NET-9.0.2)"),
            ("jedis(sparkr-v3.1.0-SNAPSHOT)", "jedis(sparkr-v3.2.0)"),
        ] {
            assert_eq!(library_app(one.as_bytes()), library_app(other.as_bytes()), "{one} {other}");
        }
    }

    #[test]
    fn odd_names_stay_whole_or_lose_the_parentheses() {
        for (library, app) in [
            ("", ""),
            ("()", "()"),
            ("(other)", "(other)"),
            ("lib(", "lib("),
            ("lib()", "lib"),
            ("lib(;;)", "lib"),
            ("lib((other)_v1)", "lib"),
            ("lib(a)(b)", "lib"),
            ("_v1", "_v1"),
            ("lib(_v1)", "_v1"),
        ] {
            let found = library_app(library.as_bytes());
            assert_eq!(String::from_utf8_lossy(found.name), app, "{library}");
        }
    }
}
