//! JSON and YAML, without quoting the text of a file in a fault: it may hold secrets.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::path::Path;

use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::error::Category;
use serde_saphyr::Error;

/// Reads a text, as JSON if the name of its file says so. `form` describes the form.
///
/// # Errors
/// The place of the fault, and what is expected there.
pub(super) fn parse<T: DeserializeOwned>(file: &Path, text: &str, form: &str) -> Result<T, String> {
    let text = text.trim_start_matches('\u{feff}');
    let is_json = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let value: Option<T> = match is_json {
        true if text.trim().is_empty() => None,
        true => serde_json::from_str(text).map_err(|error| of_json(&error, form))?,
        false => serde_saphyr::from_str(text).map_err(|error| of_yaml(&error, form))?,
    };
    // Such as one that is only half written.
    value.ok_or_else(|| format!("the file is empty; expected is {form}"))
}

fn of_json(error: &serde_json::Error, form: &str) -> String {
    let text = error.to_string();
    let is_safe = ["unknown field `", "missing field `", "duplicate field `", SET_TWICE]
        .iter()
        .any(|begin| text.starts_with(begin));
    let what = match error.classify() {
        Category::Data if is_safe => text.split(" at line ").next().unwrap_or_default().escape_debug().to_string(),
        Category::Data => format!("a value has another type than expected; expected is {form}"),
        Category::Syntax | Category::Eof | Category::Io => "this is not valid JSON".to_owned(),
    };
    format!("line {}, column {}: {what}", error.line(), error.column())
}

fn of_yaml(error: &Error, form: &str) -> String {
    let what = match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("unknown field {}, expected {}", field.escape_debug(), expected.join(", "))
        }
        Error::DuplicateMappingKey { .. } => SET_TWICE.to_owned(),
        _ => format!("this is not valid YAML, or not in the expected form; expected is {form}"),
    };
    match error.location() {
        Some(place) => format!("line {}, column {}: {what}", place.line(), place.column()),
        None => what,
    }
}

const SET_TWICE: &str = "a name is set twice; remove one";

/// A map in which each name is set once. In JSON, the last value would be used without a word.
#[derive(Debug)]
pub(super) struct UniqueMap<T>(pub(super) BTreeMap<String, T>);

impl<T> Default for UniqueMap<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for UniqueMap<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UniqueMapVisitor<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for UniqueMapVisitor<T> {
            type Value = UniqueMap<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("names with their values")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<UniqueMap<T>, A::Error> {
                let mut named = BTreeMap::new();
                while let Some((name, value)) = map.next_entry()? {
                    if named.insert(name, value).is_some() {
                        return Err(A::Error::custom(SET_TWICE));
                    }
                }
                Ok(UniqueMap(named))
            }
        }

        deserializer.deserialize_map(UniqueMapVisitor(PhantomData))
    }
}
