//! What values of streams and futures take of memory beside their own size.

use super::{blobs, spin_postgres, sql};

/// A value of a payload's type.
pub(crate) trait Heap {
    /// Bytes that it has elsewhere in memory.
    fn heap(&self) -> usize;
}

macro_rules! nothing {
    ($($ty:ty)*) => { $(impl Heap for $ty {
        fn heap(&self) -> usize {
            0
        }
    })* };
}

nothing!(() bool u8 i8 u16 i16 u32 i32 u64 i64 f32 f64 char sql::Outcome);

impl Heap for String {
    fn heap(&self) -> usize {
        self.len()
    }
}

impl<T: Heap> Heap for Vec<T> {
    fn heap(&self) -> usize {
        self.len() * size_of::<T>() + self.iter().map(Heap::heap).sum::<usize>()
    }
}

impl<T: Heap> Heap for Option<T> {
    fn heap(&self) -> usize {
        self.as_ref().map_or(0, Heap::heap)
    }
}

impl<T: Heap, E: Heap> Heap for Result<T, E> {
    fn heap(&self) -> usize {
        match self {
            Ok(value) => value.heap(),
            Err(error) => error.heap(),
        }
    }
}

impl<A: Heap, B: Heap> Heap for (A, B) {
    fn heap(&self) -> usize {
        self.0.heap() + self.1.heap()
    }
}

impl Heap for sql::Value {
    fn heap(&self) -> usize {
        match self {
            Self::Text(text) => text.heap(),
            Self::Blob(bytes) => bytes.heap(),
            Self::Null | Self::Integer(_) | Self::Real(_) => 0,
        }
    }
}

impl Heap for sql::Error {
    fn heap(&self) -> usize {
        match self {
            Self::AccessDenied(text)
            | Self::InvalidStatement(text)
            | Self::QuotaExceeded(text)
            | Self::TooLarge(text)
            | Self::Timeout(text)
            | Self::TransactionOver(text)
            | Self::Other(text) => text.heap(),
            Self::Constraint(violation) => violation.message.heap(),
            Self::NoSuchDatabase | Self::Busy => 0,
        }
    }
}

impl Heap for blobs::Error {
    fn heap(&self) -> usize {
        match self {
            Self::Invalid(text)
            | Self::InvalidPart(text)
            | Self::TooLarge(text)
            | Self::QuotaExceeded(text)
            | Self::Other(text) => text.heap(),
            Self::ConditionFailed(etag) => etag.heap(),
            Self::NoSuchContainer
            | Self::NoSuchObject
            | Self::NoSuchUpload
            | Self::ContainerNotEmpty
            | Self::InvalidRange(_)
            | Self::WrongSize
            | Self::Busy
            | Self::AccessDenied
            | Self::Damaged => 0,
        }
    }
}

impl Heap for spin_postgres::DbValue {
    fn heap(&self) -> usize {
        match self {
            Self::Str(text) | Self::Uuid(text) | Self::Decimal(text) => text.heap(),
            Self::Binary(bytes) | Self::Jsonb(bytes) | Self::Unsupported(bytes) => bytes.heap(),
            Self::RangeDecimal((from, to)) => {
                let ends = [from, to].into_iter().flatten();
                ends.map(|(text, _)| text.heap()).sum()
            }
            Self::ArrayInt32(values) => values.heap(),
            Self::ArrayInt64(values) => values.heap(),
            Self::ArrayDecimal(values) | Self::ArrayStr(values) => values.heap(),
            Self::Boolean(_)
            | Self::Int8(_)
            | Self::Int16(_)
            | Self::Int32(_)
            | Self::Int64(_)
            | Self::Floating32(_)
            | Self::Floating64(_)
            | Self::Date(_)
            | Self::Time(_)
            | Self::Datetime(_)
            | Self::Timestamp(_)
            | Self::RangeInt32(_)
            | Self::RangeInt64(_)
            | Self::Interval(_)
            | Self::DbNull => 0,
        }
    }
}

impl Heap for spin_postgres::Error {
    fn heap(&self) -> usize {
        match self {
            Self::ConnectionFailed(text)
            | Self::BadParameter(text)
            | Self::ValueConversionFailed(text)
            | Self::Other(text)
            | Self::QueryFailed(spin_postgres::QueryError::Text(text)) => text.heap(),
            Self::QueryFailed(spin_postgres::QueryError::DbError(error)) => {
                let texts = [&error.as_text, &error.severity, &error.code, &error.message];
                let texts = texts.into_iter().map(Heap::heap).sum::<usize>();
                texts + error.detail.heap() + error.extras.heap()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_count_with_all_that_is_in_them() {
        let text = || "x".repeat(100);
        assert_eq!(7_u64.heap(), 0);
        assert_eq!(text().heap(), 100);
        assert_eq!(vec![0_u8; 50].heap(), 50);
        let pairs = vec![(text(), vec![1_u8; 10]); 3];
        assert_eq!(pairs.heap(), 3 * (110 + 2 * size_of::<String>()));
        let row = vec![sql::Value::Text(text()), sql::Value::Null];
        assert_eq!(row.heap(), 100 + 2 * size_of::<sql::Value>());
        let failed: Result<(), _> = Err(sql::Error::Other(text()));
        assert_eq!(failed.heap(), 100);
    }
}
