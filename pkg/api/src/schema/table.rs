//! The compact form of schemas: rows of numbers that refer to each other by place, and one pool of strings.
//!
//! ```text
//! types:  ... 17: { name: "io.k8s.api.apps.v1.Deployment", shape: Struct { first: 112, count: 5 } } ...
//! fields: ... 115: { name: "spec", ty: 19, default: Empty, ... } ...
//! ```
//!
//! The built-in table is compiled in and used in place. Rows hold no pointers, so that their pages stay those of the file:
//! clean, shared, and never read where nobody asks.

/// A piece of the string pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    pub(crate) at: u32,
    pub(crate) len: u16,
}

/// What a value looks like in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// An object of known fields: a range of [`Table`]'s fields, sorted by name.
    Struct {
        /// The first field.
        first: u32,
        /// How many there are.
        count: u16,
    },
    /// An object of any keys.
    Map {
        /// Type of the values.
        item: u16,
    },
    /// An array.
    List {
        /// Type of the items.
        item: u16,
    },
    /// A string.
    String,
    /// Bytes in base64.
    Bytes,
    /// A 32-bit integer.
    Int32,
    /// A 64-bit integer.
    Int64,
    /// A floating-point number.
    Double,
    /// `true` or `false`.
    Bool,
    /// A quantity such as `100m`; written as a string, read from a number too.
    Quantity,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// A 32-bit integer or a string.
    IntOrString,
    /// Anything: kept as it is.
    Any,
}

/// The static default of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Default {
    None,
    /// `{}`, whose own fields may have defaults.
    Empty,
    Bool(bool),
    Int(i64),
    Text(Text),
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListType {
    /// Not said, which means atomic.
    Unset,
    /// One value.
    Atomic,
    /// Items are unique scalars.
    Set,
    /// Items are objects with keys.
    Map,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct TypeRow {
    pub(crate) name: Text,
    pub(crate) shape: Shape,
    pub(crate) atomic: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct FieldRow {
    pub(crate) name: Text,
    pub(crate) ty: u16,
    pub(crate) default: Default,
    pub(crate) list: ListType,
    pub(crate) keys: Text,
    pub(crate) merge_key: Text,
    pub(crate) merge: bool,
    pub(crate) retain_keys: bool,
    pub(crate) atomic: bool,
    pub(crate) required: bool,
    pub(crate) omits_zero: bool,
}

/// A set of types that refer to each other.
#[derive(Debug)]
pub struct Table<'t> {
    pub(crate) strings: &'t str,
    /// How many of the types have a name; they come first, sorted.
    pub(crate) named: usize,
    pub(crate) types: &'t [TypeRow],
    pub(crate) fields: &'t [FieldRow],
}

impl<'t> Table<'t> {
    fn text(&self, text: Text) -> &'t str {
        let start = text.at as usize;
        self.strings.get(start..start + usize::from(text.len)).unwrap_or_default()
    }

    /// A type by its full name, as `io.k8s.api.apps.v1.Deployment`.
    #[must_use]
    pub fn root(&'t self, name: &str) -> Option<Type<'t>> {
        let named = self.types.get(..self.named)?;
        let place = named.binary_search_by(|row| self.text(row.name).cmp(name)).ok()?;
        self.at(place)
    }

    fn at(&'t self, place: usize) -> Option<Type<'t>> {
        self.types.get(place).map(|row| Type { table: self, row })
    }

    /// The types that have names, sorted by them.
    pub fn named(&'t self) -> impl Iterator<Item = Type<'t>> {
        self.types.iter().take(self.named).map(|row| Type { table: self, row })
    }
}

/// A type in a table.
#[derive(Clone, Copy, Debug)]
pub struct Type<'t> {
    table: &'t Table<'t>,
    row: &'t TypeRow,
}

impl<'t> Type<'t> {
    /// Its full name; empty for scalars, maps and lists.
    #[must_use]
    pub fn name(self) -> &'t str {
        self.table.text(self.row.name)
    }

    /// What its values look like.
    #[must_use]
    pub fn shape(self) -> Shape {
        self.row.shape
    }

    /// Whether server-side apply treats the whole as one value.
    #[must_use]
    pub fn is_atomic(self) -> bool {
        self.row.atomic
    }

    /// Type of the values of a map or the items of a list.
    #[must_use]
    pub fn item(self) -> Option<Type<'t>> {
        match self.row.shape {
            Shape::Map { item } | Shape::List { item } => self.table.at(item.into()),
            _ => None,
        }
    }

    /// The types that values of this one hold.
    pub fn parts(self) -> impl Iterator<Item = Type<'t>> {
        self.fields().filter_map(Field::ty).chain(self.item())
    }

    fn rows(self) -> &'t [FieldRow] {
        match self.row.shape {
            Shape::Struct { first, count } => {
                let first = first as usize;
                self.table.fields.get(first..first + usize::from(count)).unwrap_or_default()
            }
            _ => &[],
        }
    }

    /// The fields of a struct, sorted by name.
    pub fn fields(self) -> impl Iterator<Item = Field<'t>> {
        self.rows().iter().map(move |row| Field { table: self.table, row })
    }

    /// A field of a struct.
    #[must_use]
    pub fn field(self, name: &str) -> Option<Field<'t>> {
        self.field_at(name).map(|(_, field)| field)
    }

    /// A field of a struct with its place among the fields.
    pub(crate) fn field_at(self, name: &str) -> Option<(usize, Field<'t>)> {
        let rows = self.rows();
        let place = rows.binary_search_by(|row| self.table.text(row.name).cmp(name)).ok()?;
        Some((place, Field { table: self.table, row: rows.get(place)? }))
    }
}

/// A field of a struct.
#[derive(Clone, Copy, Debug)]
pub struct Field<'t> {
    table: &'t Table<'t>,
    row: &'t FieldRow,
}

impl<'t> Field<'t> {
    /// Its name in JSON.
    #[must_use]
    pub fn name(self) -> &'t str {
        self.table.text(self.row.name)
    }

    /// Its type; `None` only where the table is broken.
    #[must_use]
    pub fn ty(self) -> Option<Type<'t>> {
        self.table.at(self.row.ty.into())
    }

    /// `x-kubernetes-list-type`.
    #[must_use]
    pub fn list_type(self) -> ListType {
        self.row.list
    }

    /// `x-kubernetes-list-map-keys`.
    pub fn list_keys(self) -> impl Iterator<Item = &'t str> {
        self.table.text(self.row.keys).split(',').filter(|key| !key.is_empty())
    }

    /// `x-kubernetes-patch-merge-key`; empty when there is none.
    #[must_use]
    pub fn merge_key(self) -> &'t str {
        self.table.text(self.row.merge_key)
    }

    /// Whether a strategic merge patch merges this list instead of replacing it.
    #[must_use]
    pub fn merges(self) -> bool {
        self.row.merge
    }

    /// Whether a strategic merge patch may say which keys to retain.
    #[must_use]
    pub fn retains_keys(self) -> bool {
        self.row.retain_keys
    }

    /// Whether server-side apply treats the field as one value.
    #[must_use]
    pub fn is_atomic(self) -> bool {
        self.row.atomic
    }

    /// Whether the schema lists it as required.
    #[must_use]
    pub fn is_required(self) -> bool {
        self.row.required
    }

    /// Whether upstream leaves the field out when it is empty, `false` or zero: the two mean the same.
    #[must_use]
    pub fn omits_zero(self) -> bool {
        self.row.omits_zero
    }

    pub(crate) fn default(self) -> Default {
        self.row.default
    }

    pub(crate) fn default_text(self, text: Text) -> &'t str {
        self.table.text(text)
    }
}
