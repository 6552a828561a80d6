//! Compiles `schema/*.jsonl` into what the binary needs of it: a table of numbers and one pool of strings that are used in
//! place (`src/schema/table.rs` says how), and the definitions themselves, compressed, for `/openapi`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a build script may stop the build, and its input is checked in"
)]

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Write as _;
use std::path::Path;
use std::{env, fs};

use serde_json::Value;

const SOURCES: &[&str] = &["schema/kubernetes.jsonl", "schema/metallb.jsonl"];

/// Upstream's Go types with their tags; `src/protobuf/layout.rs` says how to read it.
const LAYOUTS: &str = "schema/protobuf.txt";

/// Definitions whose JSON is not what their OpenAPI type says.
const SHAPES: &[(&str, &str)] = &[
    ("io.k8s.apimachinery.pkg.api.resource.Quantity", "Quantity"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Time", "Time"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime", "MicroTime"),
    ("io.k8s.apimachinery.pkg.util.intstr.IntOrString", "IntOrString"),
    ("io.k8s.apimachinery.pkg.runtime.RawExtension", "Any"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.FieldsV1", "Any"),
    ("io.k8s.apimachinery.pkg.apis.meta.v1.Patch", "Any"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSON", "Any"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrArray", "Any"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrBool", "Any"),
    ("io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaPropsOrStringArray", "Any"),
];

fn main() {
    let mut definitions = BTreeMap::new();
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
        for line in fs::read_to_string(source).unwrap().lines() {
            let mut definition: Value = serde_json::from_str(line).unwrap();
            let name = definition["name"].as_str().unwrap().to_owned();
            definition.as_object_mut().unwrap().remove("name");
            assert!(definitions.insert(name.clone(), definition).is_none(), "{name} is there twice");
        }
    }
    let out = env::var("OUT_DIR").unwrap();
    let out = Path::new(&out);

    let layouts = fs::read_to_string(LAYOUTS).unwrap();
    let mut table = Table::new(definitions.keys(), Omitted::new(&layouts));
    for (name, definition) in &definitions {
        table.add_definition(name, definition);
    }
    fs::write(out.join("schema_strings.txt"), &table.strings).unwrap();
    fs::write(out.join("schema_table.rs"), table.source(definitions.len())).unwrap();

    let mut packed = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    for (name, definition) in &definitions {
        writeln!(packed, "{name} {definition}").unwrap();
    }
    fs::write(out.join("definitions.deflate"), packed.finish().unwrap()).unwrap();
    fs::write(out.join("openapi_digest.txt"), format!("{:016x}", digest())).unwrap();
}

/// Names the documents that `/openapi` is made of: it changes with everything that they are made from.
fn digest() -> u64 {
    let mut hasher = DefaultHasher::new();
    for folder in ["schema", "src/openapi", "src/kinds"] {
        println!("cargo::rerun-if-changed={folder}");
        let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files.into_iter().filter(|file| file.is_file()).for_each(|file| fs::read(file).unwrap().hash(&mut hasher));
    }
    hasher.finish()
}

/// The fields that Go leaves out of JSON when they are zero: those of scalars, lists and maps marked `omitempty`.
struct Omitted(HashSet<(String, String)>);

impl Omitted {
    fn new(layouts: &str) -> Self {
        let types: HashMap<&str, Vec<&str>> = layouts
            .lines()
            .map(|line| line.split_once(' ').unwrap_or((line, "")))
            .map(|(name, fields)| (name, fields.split(' ').filter(|field| !field.is_empty()).collect()))
            .collect();
        let mut omitted = Self(HashSet::new());
        types.keys().for_each(|name| omitted.add(name, name, &types));
        omitted
    }

    /// Adds what `part` has to `owner`: itself, or a struct that embeds it.
    fn add(&mut self, owner: &str, part: &str, types: &HashMap<&str, Vec<&str>>) {
        // One without fields has no line.
        for field in types.get(part.trim_start_matches('*')).into_iter().flatten() {
            let (name, rest) = field.split_once('=').unwrap();
            let (number, form) = rest.split_once(':').unwrap();
            let has_zero = matches!(form, "s" | "y" | "b" | "i" | "f") || form.starts_with(['[', '{']);
            if name.is_empty() {
                self.add(owner, form, types);
            } else if number.ends_with('?') && has_zero {
                self.0.insert((owner.to_owned(), name.to_owned()));
            }
        }
    }

    fn has(&self, owner: &str, field: &str) -> bool {
        self.0.contains(&(owner.to_owned(), field.to_owned()))
    }
}

/// The table in the making. Types that have a name come first, in order of their names; the others follow as they come.
struct Table {
    omitted: Omitted,
    strings: String,
    interned: HashMap<String, String>,
    /// Place of a type by its name, or by its structure (`[]12`) when it has none.
    places: HashMap<String, usize>,
    types: Vec<String>,
    fields: Vec<String>,
}

impl Table {
    fn new<'a>(names: impl Iterator<Item = &'a String>, omitted: Omitted) -> Self {
        let places: HashMap<_, _> = names.enumerate().map(|(place, name)| (name.clone(), place)).collect();
        let types = vec![String::new(); places.len()];
        Self { omitted, strings: String::new(), interned: HashMap::new(), places, types, fields: Vec::new() }
    }

    /// `Text { at, len }` of a string in the pool.
    fn text(&mut self, text: &str) -> String {
        if let Some(known) = self.interned.get(text) {
            return known.clone();
        }
        let at = self.strings.find(text).unwrap_or_else(|| {
            self.strings.push_str(text);
            self.strings.len() - text.len()
        });
        let row = format!("Text{{at:{at},len:{}}}", text.len());
        self.interned.insert(text.to_owned(), row.clone());
        row
    }

    fn add_definition(&mut self, name: &str, definition: &Value) {
        let special = SHAPES.iter().find(|(of, _)| *of == name).map(|(_, shape)| format!("Shape::{shape}"));
        let shape = special.unwrap_or_else(|| self.object(name, definition));
        let text = self.text(name);
        let atomic = definition["x-kubernetes-map-type"] == "atomic";
        let place = self.places[name];
        self.types[place] = format!("TypeRow{{name:{text},shape:{shape},atomic:{atomic}}}");
    }

    fn object(&mut self, name: &str, definition: &Value) -> String {
        assert_eq!(definition["type"], "object", "{name} needs a row in SHAPES");
        let empty = serde_json::Map::new();
        let properties = definition["properties"].as_object().unwrap_or(&empty);
        let required: Vec<&str> =
            definition["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let rows: Vec<String> = properties
            .iter()
            .map(|(field, schema)| {
                let omits_zero = self.omitted.has(name, field);
                self.field(field, schema, required.contains(&field.as_str()), omits_zero)
            })
            .collect();
        let first = self.fields.len();
        self.fields.extend(rows);
        format!("Shape::Struct{{first:{first},count:{}}}", properties.len())
    }

    fn field(&mut self, name: &str, schema: &Value, required: bool, omits_zero: bool) -> String {
        let attribute = |name: &str| schema[format!("x-kubernetes-{name}")].as_str().unwrap_or_default();
        let list = match attribute("list-type") {
            "" => "Unset",
            "atomic" => "Atomic",
            "set" => "Set",
            "map" => "Map",
            other => panic!("unknown list type {other}"),
        };
        let keys: Vec<&str> =
            schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let strategy = attribute("patch-strategy");
        let has = |part: &str| strategy.split(',').any(|own| own == part);
        let default = match &schema["default"] {
            Value::Null => "Default::None".to_owned(),
            Value::Object(fields) if fields.is_empty() => "Default::Empty".to_owned(),
            Value::Bool(value) => format!("Default::Bool({value})"),
            Value::Number(value) => format!("Default::Int({value})"),
            Value::String(value) => format!("Default::Text({})", self.text(value)),
            other => panic!("unexpected default {other}"),
        };
        let ty = self.type_of(schema);
        let (text, keys, merge_key) =
            (self.text(name), self.text(&keys.join(",")), self.text(attribute("patch-merge-key")));
        format!(
            "FieldRow{{name:{text},ty:{ty},default:{default},list:ListType::{list},keys:{keys},merge_key:{merge_key},\
             merge:{},retain_keys:{},atomic:{},required:{required},\
             omits_zero:{omits_zero}}}",
            has("merge"),
            has("retainKeys"),
            attribute("map-type") == "atomic",
        )
    }

    fn type_of(&mut self, schema: &Value) -> usize {
        if let Some(reference) = schema["$ref"].as_str() {
            return self.places[reference.trim_start_matches("#/")];
        }
        let shape = match (schema["type"].as_str().unwrap(), schema["format"].as_str().unwrap_or_default()) {
            ("string", "byte") => "Bytes".to_owned(),
            ("string", "") => "String".to_owned(),
            ("integer", "int32") => "Int32".to_owned(),
            ("integer", "int64" | "") => "Int64".to_owned(),
            ("number", _) => "Double".to_owned(),
            ("boolean", _) => "Bool".to_owned(),
            ("array", _) => format!("List{{item:{}}}", self.type_of(&schema["items"])),
            ("object", _) if schema.get("additionalProperties").is_some() => {
                format!("Map{{item:{}}}", self.type_of(&schema["additionalProperties"]))
            }
            other => panic!("unexpected type {other:?}"),
        };
        if let Some(place) = self.places.get(&shape) {
            return *place;
        }
        let place = self.types.len();
        let name = self.text("");
        self.types.push(format!("TypeRow{{name:{name},shape:Shape::{shape},atomic:false}}"));
        self.places.insert(shape, place);
        place
    }

    fn source(&self, named: usize) -> String {
        let mut source =
            String::from("Table {\n strings: include_str!(concat!(env!(\"OUT_DIR\"), \"/schema_strings.txt\")),\n");
        writeln!(source, " named: {named},\n types: &[\n{},\n ],", self.types.join(",\n")).unwrap();
        writeln!(source, " fields: &[\n{},\n ],\n}}", self.fields.join(",\n")).unwrap();
        source
    }
}
