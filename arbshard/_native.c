/* The compiled twin of the steps that run at every frame. `arbshard.native` loads it; each type below does what the
 * Python code beside its use does, and `tests/test_native.py` compares both. `make setup` builds it where there is a
 * compiler. Without it everything works, and a message costs more CPU.
 *
 * Only what is called for each frame is here: a frame's market, its way into its slot and out of it, the ring and the
 * doorbell's sleep word, a page's counters, and the best prices of a usual frame. All that decides stays in Python.
 *
 * The layouts are those of `arbshard/shm`: words of 8 bytes in the machine's own order. It is used where stores are
 * seen in program order (`shm.layout.ORDERED_STORES`), as the layouts carry checksums elsewhere. The atomic operations
 * keep the compiler from changing that order.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <math.h>
#include <stdint.h>
#include <structmember.h>

typedef uint64_t word;

/* shm/seqlock.py */
enum { SLOT_STAMP = 1, SLOT_LENGTH = 2, SLOT_FLAG = 3, SLOT_HEADER_WORDS = 8 };
/* A try of a reader takes much less time than one in Python, and a write as long: more tries wait as long for it. */
enum { READ_TRIES = 1024 };
/* shm/rings.py, shm/layout.py */
enum { HEAD = 8, SLEEP = 8, FIRST_ENTRY = 32, SLOT_BITS = 20 };
/* shm/pages.py */
enum { BUCKETS = 320, TOTAL = BUCKETS, MAX = BUCKETS + 1, HISTOGRAM_WORDS = BUCKETS + 2 };
static const int64_t NS_MAX = ((int64_t)1 << 42) - 1;

static PyObject *FrameError; /* arbshard.errors.FrameError */

static inline word load(const word *at) { return __atomic_load_n(at, __ATOMIC_ACQUIRE); }
static inline void store(word *at, word value) { __atomic_store_n(at, value, __ATOMIC_RELEASE); }
static inline void wait_a_moment(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

/* None of these types has a tp_clear, as a tuple has none: what it refers to never changes, so that a method that runs
 * while a cycle is collected finds it whole. The other objects of a cycle break it. */

/* Memory(buffer): holds a mapping for the objects below, until it is released. */

typedef struct {
    PyObject_HEAD
    Py_buffer view;
    word *words; /* NULL after release */
    Py_ssize_t count;
    int writable;
} Memory;

static void memory_release_view(Memory *self) {
    if (self->words != NULL) {
        self->words = NULL;
        PyBuffer_Release(&self->view);
    }
}

static PyObject *memory_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"buffer", "writable", NULL};
    PyObject *buffer;
    int writable = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "Op", names, &buffer, &writable)) return NULL;
    Memory *self = (Memory *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    if (PyObject_GetBuffer(buffer, &self->view, writable ? PyBUF_WRITABLE : PyBUF_SIMPLE) < 0) {
        Py_DECREF(self);
        return NULL;
    }
    if ((uintptr_t)self->view.buf % sizeof(word)) { /* a word would not be read in one piece */
        PyErr_SetString(PyExc_ValueError, "the mapping is not aligned to words");
        PyBuffer_Release(&self->view);
        Py_DECREF(self);
        return NULL;
    }
    self->words = self->view.buf;
    self->count = self->view.len / (Py_ssize_t)sizeof(word);
    self->writable = writable;
    return (PyObject *)self;
}

static void memory_dealloc(Memory *self) {
    memory_release_view(self);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *memory_release(Memory *self, PyObject *Py_UNUSED(ignored)) {
    memory_release_view(self);
    Py_RETURN_NONE;
}

static PyMethodDef memory_methods[] = {
    {"release", (PyCFunction)memory_release, METH_NOARGS, NULL},
    {NULL},
};

static PyTypeObject MemoryType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "arbshard._native.Memory",
    .tp_basicsize = sizeof(Memory),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = memory_new,
    .tp_dealloc = (destructor)memory_dealloc,
    .tp_methods = memory_methods,
};

/* Returns the words of a memory that is still mapped; raises ValueError otherwise. */
static word *mapped(Memory *memory) {
    if (memory->words == NULL) PyErr_SetString(PyExc_ValueError, "the mapping is closed");
    return memory->words;
}

/* Checks that `words` words from `first` on are in the memory, and that it may be written to if need be. */
static int covers(Memory *memory, Py_ssize_t first, Py_ssize_t words, int writes) {
    if (mapped(memory) == NULL) return 0;
    if (first < 0 || words < 0 || first > memory->count || words > memory->count - first) {
        PyErr_SetString(PyExc_ValueError, "the mapping is too small");
        return 0;
    }
    if (writes && !memory->writable) {
        PyErr_SetString(PyExc_ValueError, "the mapping may only be read");
        return 0;
    }
    return 1;
}

static int is_count(Py_ssize_t given, Py_ssize_t wanted) {
    if (given == wanted) return 1;
    PyErr_Format(PyExc_TypeError, "%zd arguments are needed, not %zd", wanted, given);
    return 0;
}

/* Slots(memory, offset, count, capacity, writable): shm/seqlock.py's SlotsWriter.write and SlotsReader.read. */

typedef struct {
    PyObject_HEAD
    Memory *memory;
    Py_ssize_t first, step, count, capacity;
    unsigned long long torn;
} Slots;

static PyObject *slots_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    Memory *memory;
    Py_ssize_t offset, count, capacity;
    int writable;
    if (!PyArg_ParseTuple(args, "O!nnnp", &MemoryType, &memory, &offset, &count, &capacity, &writable)) return NULL;
    if (offset < 0 || offset % 8 || count < 0 || capacity < 0 || capacity > PY_SSIZE_T_MAX / 16) {
        PyErr_SetString(PyExc_ValueError, "these are no slots");
        return NULL;
    }
    Py_ssize_t first = offset / 8, step = SLOT_HEADER_WORDS + (capacity + 63) / 64 * 8;
    if (count > PY_SSIZE_T_MAX / step) {
        PyErr_SetString(PyExc_ValueError, "these are no slots");
        return NULL;
    }
    if (!covers(memory, first, count * step, writable)) return NULL;
    Slots *self = (Slots *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->memory = (Memory *)Py_NewRef(memory);
    self->first = first;
    self->step = step;
    self->count = count;
    self->capacity = capacity;
    return (PyObject *)self;
}

static void slots_dealloc(Slots *self) {
    Py_XDECREF(self->memory);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* Returns the header of a slot, or NULL with IndexError or ValueError. */
static word *slot_at(Slots *self, PyObject *number) {
    Py_ssize_t slot = PyNumber_AsSsize_t(number, PyExc_IndexError);
    if (slot == -1 && PyErr_Occurred()) return NULL;
    if (slot < 0 || slot >= self->count) {
        PyErr_SetObject(PyExc_IndexError, number);
        return NULL;
    }
    word *words = mapped(self->memory);
    return words == NULL ? NULL : words + self->first + slot * self->step;
}

static PyObject *slots_write(Slots *self, PyObject *const *args, Py_ssize_t nargs) {
    if (!is_count(nargs, 3)) return NULL;
    Py_buffer frame;
    if (!self->memory->writable) {
        PyErr_SetString(PyExc_ValueError, "the mapping may only be read");
        return NULL;
    }
    if (PyObject_GetBuffer(args[1], &frame, PyBUF_SIMPLE) < 0) return NULL;
    PyObject *result = NULL;
    if (frame.len == 0 || frame.len > self->capacity) {
        PyObject *detail = PyUnicode_FromFormat("%zd bytes", frame.len);
        PyObject *error =
            detail == NULL ? NULL : PyObject_CallFunction(FrameError, "sO", frame.len ? "oversize" : "empty", detail);
        if (error != NULL) PyErr_SetObject(FrameError, error);
        Py_XDECREF(error);
        Py_XDECREF(detail);
        goto done;
    }
    word stamp = PyLong_AsUnsignedLongLong(args[2]);
    if (stamp == (word)-1 && PyErr_Occurred()) goto done;
    word *slot = slot_at(self, args[0]);
    if (slot == NULL) goto done;
    word odd = slot[0] | 1; /* odd already if a writer died inside a write */
    store(&slot[0], odd);
    __atomic_thread_fence(__ATOMIC_RELEASE);
    slot[SLOT_STAMP] = stamp;
    slot[SLOT_LENGTH] = (word)frame.len;
    memcpy(slot + SLOT_HEADER_WORDS, frame.buf, (size_t)frame.len);
    store(&slot[0], odd + 1);
    result = Py_NewRef(Py_None);
done:
    PyBuffer_Release(&frame);
    return result;
}

static PyObject *slots_read(Slots *self, PyObject *number) {
    word *slot = slot_at(self, number);
    if (slot == NULL) return NULL;
    for (int attempt = 0; attempt < READ_TRIES; attempt++) {
        word sequence = load(&slot[0]);
        if (sequence & 1) {
            wait_a_moment();
            continue;
        }
        /* Each is loaded once: the length that is checked is the one that is copied. */
        word length = load(&slot[SLOT_LENGTH]), stamp = load(&slot[SLOT_STAMP]), flag = load(&slot[SLOT_FLAG]);
        if (length > (word)self->capacity) { /* torn, or not a slot */
            if (load(&slot[0]) != sequence) continue;
            break;
        }
        PyObject *frame = PyBytes_FromStringAndSize((char *)(slot + SLOT_HEADER_WORDS), (Py_ssize_t)length);
        if (frame == NULL) return NULL;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (load(&slot[0]) != sequence) { /* the copy may be torn */
            Py_DECREF(frame);
            continue;
        }
        if (length == 0) {
            Py_DECREF(frame);
            Py_RETURN_NONE;
        }
        PyObject *found = PyTuple_New(4), *parts[2] = {PyLong_FromUnsignedLongLong(sequence),
                                                       PyLong_FromUnsignedLongLong(stamp)};
        if (found == NULL || parts[0] == NULL || parts[1] == NULL) {
            Py_XDECREF(found);
            Py_XDECREF(parts[0]);
            Py_XDECREF(parts[1]);
            Py_DECREF(frame);
            return NULL;
        }
        PyTuple_SET_ITEM(found, 0, parts[0]);
        PyTuple_SET_ITEM(found, 1, parts[1]);
        PyTuple_SET_ITEM(found, 2, Py_NewRef(flag ? Py_True : Py_False));
        PyTuple_SET_ITEM(found, 3, frame);
        return found;
    }
    self->torn++;
    Py_RETURN_NONE;
}

static PyMethodDef slots_methods[] = {
    {"write", (PyCFunction)(void (*)(void))slots_write, METH_FASTCALL, NULL},
    {"read", (PyCFunction)slots_read, METH_O, NULL},
    {NULL},
};

static PyMemberDef slots_members[] = {
    {"torn", T_ULONGLONG, offsetof(Slots, torn), READONLY, NULL},
    {NULL},
};

static PyTypeObject SlotsType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "arbshard._native.Slots",
    .tp_basicsize = sizeof(Slots),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = slots_new,
    .tp_dealloc = (destructor)slots_dealloc,
    .tp_methods = slots_methods,
    .tp_members = slots_members,
};

/* Ring(memory, capacity): shm/rings.py's RingReader, and going to sleep. */

typedef struct {
    PyObject_HEAD
    Memory *memory;
    word capacity, cursor;
    unsigned long long overflows;
    char fresh;
} Ring;

static PyObject *ring_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    Memory *memory;
    Py_ssize_t capacity;
    if (!PyArg_ParseTuple(args, "O!n", &MemoryType, &memory, &capacity)) return NULL;
    if (capacity <= 0 || (capacity & (capacity - 1))) {
        PyErr_SetString(PyExc_ValueError, "the capacity is no power of two");
        return NULL;
    }
    if (!covers(memory, FIRST_ENTRY, capacity, 0)) return NULL;
    Ring *self = (Ring *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->memory = (Memory *)Py_NewRef(memory);
    self->capacity = (word)capacity;
    self->cursor = load(&memory->words[HEAD]);
    self->fresh = 1;
    return (PyObject *)self;
}

static void ring_dealloc(Ring *self) {
    Py_XDECREF(self->memory);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *ring_behind(Ring *self, PyObject *Py_UNUSED(ignored)) {
    word *words = mapped(self->memory);
    if (words == NULL) return NULL;
    return PyBool_FromLong(self->fresh || load(&words[HEAD]) != self->cursor);
}

static PyObject *ring_drain(Ring *self, PyObject *Py_UNUSED(ignored)) {
    word *words = mapped(self->memory);
    if (words == NULL) return NULL;
    word head = load(&words[HEAD]), cursor = self->cursor;
    if (self->fresh) {
        self->fresh = 0;
        self->cursor = head;
        Py_RETURN_NONE;
    }
    if (head == cursor) return PyList_New(0);
    if (head - cursor > self->capacity) {
        self->cursor = head;
        self->overflows++;
        Py_RETURN_NONE;
    }
    PyObject *slots = PyDict_New(); /* distinct, in the order of their first change */
    if (slots == NULL) return NULL;
    for (word number = cursor + 1; number <= head; number++) {
        word entry = load(&words[FIRST_ENTRY + ((number - 1) & (self->capacity - 1))]);
        /* Another number: the entry was overwritten since the head was read, or is not visible yet. */
        if (entry >> SLOT_BITS != number) {
            Py_DECREF(slots);
            self->cursor = head;
            self->overflows++;
            Py_RETURN_NONE;
        }
        PyObject *slot = PyLong_FromUnsignedLongLong(entry & ((1 << SLOT_BITS) - 1));
        if (slot == NULL || PyDict_SetItem(slots, slot, Py_None) < 0) {
            Py_XDECREF(slot);
            Py_DECREF(slots);
            return NULL;
        }
        Py_DECREF(slot);
    }
    PyObject *list = PyDict_Keys(slots);
    Py_DECREF(slots);
    if (list != NULL) self->cursor = head;
    return list;
}

/* Marks the worker as asleep and returns True; False, and it stays awake, when a change came meanwhile. */
static PyObject *ring_park(Ring *self, PyObject *sleep) {
    if (!PyObject_TypeCheck(sleep, &MemoryType)) {
        PyErr_SetString(PyExc_TypeError, "a memory is needed");
        return NULL;
    }
    if (!covers((Memory *)sleep, SLEEP, 1, 1)) return NULL;
    word *words = mapped(self->memory), *word_of_sleep = &((Memory *)sleep)->words[SLEEP];
    if (words == NULL) return NULL;
    word generation = (load(word_of_sleep) + 1) | 1; /* the next odd number, whatever another process has set */
    store(word_of_sleep, generation);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the store comes before the load of the head: no wake-up is lost */
    if (self->fresh || load(&words[HEAD]) != self->cursor) {
        store(word_of_sleep, generation + 1);
        Py_RETURN_FALSE;
    }
    Py_RETURN_TRUE;
}

/* Marks the worker as awake, after a `park` that returned True. */
static PyObject *ring_unpark(Ring *Py_UNUSED(self), PyObject *sleep) {
    if (!PyObject_TypeCheck(sleep, &MemoryType)) {
        PyErr_SetString(PyExc_TypeError, "a memory is needed");
        return NULL;
    }
    if (!covers((Memory *)sleep, SLEEP, 1, 1)) return NULL;
    word *word_of_sleep = &((Memory *)sleep)->words[SLEEP];
    store(word_of_sleep, (load(word_of_sleep) | 1) + 1); /* the next even number, whatever another process has set */
    Py_RETURN_NONE;
}

static PyMethodDef ring_methods[] = {
    {"behind", (PyCFunction)ring_behind, METH_NOARGS, NULL},
    {"drain", (PyCFunction)ring_drain, METH_NOARGS, NULL},
    {"park", (PyCFunction)ring_park, METH_O, NULL},
    {"unpark", (PyCFunction)ring_unpark, METH_O, NULL},
    {NULL},
};

static PyMemberDef ring_members[] = {
    {"cursor", T_ULONGLONG, offsetof(Ring, cursor), READONLY, NULL},
    {"overflows", T_ULONGLONG, offsetof(Ring, overflows), READONLY, NULL},
    {NULL},
};

static PyTypeObject RingType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "arbshard._native.Ring",
    .tp_basicsize = sizeof(Ring),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = ring_new,
    .tp_dealloc = (destructor)ring_dealloc,
    .tp_methods = ring_methods,
    .tp_members = ring_members,
};

/* Notifier(ring, capacity, park, wake): shm/doorbell.py's ShardNotifier.push. */

typedef struct {
    PyObject_HEAD
    Memory *ring, *park;
    word mask, rung;
    PyObject *wake;
} Notifier;

static PyObject *notifier_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    Memory *ring, *park;
    Py_ssize_t capacity;
    PyObject *wake;
    if (!PyArg_ParseTuple(args, "O!nO!O", &MemoryType, &ring, &capacity, &MemoryType, &park, &wake)) return NULL;
    if (capacity <= 0 || (capacity & (capacity - 1))) {
        PyErr_SetString(PyExc_ValueError, "the capacity is no power of two");
        return NULL;
    }
    if (!covers(ring, FIRST_ENTRY, capacity, 1) || !covers(park, SLEEP, 1, 0)) return NULL;
    Notifier *self = (Notifier *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->ring = (Memory *)Py_NewRef(ring);
    self->park = (Memory *)Py_NewRef(park);
    self->mask = (word)capacity - 1;
    self->wake = Py_NewRef(wake);
    return (PyObject *)self;
}

static int notifier_traverse(Notifier *self, visitproc visit, void *arg) {
    Py_VISIT(self->wake);
    return 0;
}

static void notifier_dealloc(Notifier *self) {
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->ring);
    Py_XDECREF(self->park);
    Py_XDECREF(self->wake);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *notifier_push(Notifier *self, PyObject *number) {
    word slot = PyLong_AsUnsignedLongLong(number);
    if (slot == (word)-1 && PyErr_Occurred()) return NULL;
    word *ring = mapped(self->ring), *park = mapped(self->park);
    if (ring == NULL || park == NULL) return NULL;
    word head = ring[HEAD];
    /* The entry comes before the head, so that a reader that sees the new head finds the entry. */
    store(&ring[FIRST_ENTRY + (head & self->mask)], (head + 1) << SLOT_BITS | slot);
    store(&ring[HEAD], head + 1);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the store comes before the load of the sleep word */
    word generation = load(&park[SLEEP]);
    if ((generation & 1) == 0 || generation == self->rung) Py_RETURN_NONE;
    self->rung = generation;
    return PyObject_CallNoArgs(self->wake);
}

static PyMethodDef notifier_methods[] = {
    {"push", (PyCFunction)notifier_push, METH_O, NULL},
    {NULL},
};

static PyTypeObject NotifierType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "arbshard._native.Notifier",
    .tp_basicsize = sizeof(Notifier),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = notifier_new,
    .tp_dealloc = (destructor)notifier_dealloc,
    .tp_traverse = (traverseproc)notifier_traverse,
    .tp_methods = notifier_methods,
};

/* Cells(memory): shm/pages.py's PageWriter.add, set and record. */

typedef struct {
    PyObject_HEAD
    Memory *memory;
} Cells;

static PyObject *cells_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    Memory *memory;
    if (!PyArg_ParseTuple(args, "O!", &MemoryType, &memory) || !covers(memory, 0, 0, 1)) return NULL;
    Cells *self = (Cells *)type->tp_alloc(type, 0);
    if (self != NULL) self->memory = (Memory *)Py_NewRef(memory);
    return (PyObject *)self;
}

static void cells_dealloc(Cells *self) {
    Py_XDECREF(self->memory);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* Returns the address of `words` words from the given one on; NULL with IndexError where there are fewer. */
static word *cells_at(Cells *self, PyObject *number, Py_ssize_t words) {
    Py_ssize_t first = PyNumber_AsSsize_t(number, PyExc_IndexError);
    if (first == -1 && PyErr_Occurred()) return NULL;
    word *all = mapped(self->memory);
    if (all == NULL) return NULL;
    if (first < 0 || first > self->memory->count - words) {
        PyErr_SetObject(PyExc_IndexError, number);
        return NULL;
    }
    return all + first;
}

static PyObject *cells_add(Cells *self, PyObject *const *args, Py_ssize_t nargs) {
    if (nargs != 1 && !is_count(nargs, 2)) return NULL;
    long long n = nargs == 2 ? PyLong_AsLongLong(args[1]) : 1;
    if (n == -1 && PyErr_Occurred()) return NULL;
    word *cell = cells_at(self, args[0], 1);
    if (cell == NULL) return NULL;
    store(cell, *cell + (word)n);
    Py_RETURN_NONE;
}

static PyObject *cells_set(Cells *self, PyObject *const *args, Py_ssize_t nargs) {
    if (!is_count(nargs, 2)) return NULL;
    long long value = PyLong_AsLongLong(args[1]);
    if (value == -1 && PyErr_Occurred()) return NULL;
    word *cell = cells_at(self, args[0], 1);
    if (cell == NULL) return NULL;
    store(cell, (word)value);
    Py_RETURN_NONE;
}

static PyObject *cells_record(Cells *self, PyObject *const *args, Py_ssize_t nargs) {
    if (!is_count(nargs, 2)) return NULL;
    long long ns = PyLong_AsLongLong(args[1]);
    if (ns == -1 && PyErr_Occurred()) return NULL;
    word *cells = cells_at(self, args[0], HISTOGRAM_WORDS);
    if (cells == NULL) return NULL;
    int bucket = ns < 0 ? 0 : (int)ns;
    if (ns > NS_MAX) {
        bucket = BUCKETS - 1;
    } else if (ns >= 16) {
        int shift = 60 - __builtin_clzll((unsigned long long)ns);
        bucket = (shift << 3) + (int)(ns >> shift);
    }
    /* The bucket comes last: a reader that sees a duration there sees it in the other two as well. */
    if (ns > 0) {
        if ((word)ns > cells[MAX]) store(&cells[MAX], (word)ns);
        store(&cells[TOTAL], cells[TOTAL] + (word)ns);
    }
    store(&cells[bucket], cells[bucket] + 1);
    Py_RETURN_NONE;
}

static PyMethodDef cells_methods[] = {
    {"add", (PyCFunction)(void (*)(void))cells_add, METH_FASTCALL, NULL},
    {"set", (PyCFunction)(void (*)(void))cells_set, METH_FASTCALL, NULL},
    {"record", (PyCFunction)(void (*)(void))cells_record, METH_FASTCALL, NULL},
    {NULL},
};

static PyTypeObject CellsType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "arbshard._native.Cells",
    .tp_basicsize = sizeof(Cells),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = cells_new,
    .tp_dealloc = (destructor)cells_dealloc,
    .tp_methods = cells_methods,
};

/* Usual(head, tails): what the two types below ask of a frame. */

static int begins(const char *frame, Py_ssize_t length, PyObject *head) {
    Py_ssize_t size = PyBytes_GET_SIZE(head);
    return length >= size && memcmp(frame, PyBytes_AS_STRING(head), (size_t)size) == 0;
}

static int ends(const char *frame, Py_ssize_t length, PyObject *tails) {
    for (Py_ssize_t n = 0; n < PyTuple_GET_SIZE(tails); n++) {
        PyObject *tail = PyTuple_GET_ITEM(tails, n);
        Py_ssize_t size = PyBytes_GET_SIZE(tail);
        if (length >= size && memcmp(frame + length - size, PyBytes_AS_STRING(tail), (size_t)size) == 0) return 1;
    }
    return 0;
}

static int are_bytes(PyObject *tuple) {
    for (Py_ssize_t n = 0; n < PyTuple_GET_SIZE(tuple); n++) {
        if (!PyBytes_CheckExact(PyTuple_GET_ITEM(tuple, n))) {
            PyErr_SetString(PyExc_TypeError, "a tuple of bytes is needed");
            return 0;
        }
    }
    return 1;
}

/* Router(head, tails, resolve): returns the market that follows `head`, up to a quotation mark, in a frame that ends
 * with one of `tails`. `resolve` is asked for it once: it returns None for what names no market. */

typedef struct {
    PyObject_HEAD
    PyObject *head, *tails, *resolve, *known;
} Router;

enum { KNOWN_MAX = 8192 };

static PyObject *router_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    PyObject *head, *tails, *resolve;
    if (!PyArg_ParseTuple(args, "SO!O", &head, &PyTuple_Type, &tails, &resolve) || !are_bytes(tails)) return NULL;
    PyObject *known = PyDict_New();
    if (known == NULL) return NULL;
    Router *self = (Router *)type->tp_alloc(type, 0);
    if (self == NULL) {
        Py_DECREF(known);
        return NULL;
    }
    self->head = Py_NewRef(head);
    self->tails = Py_NewRef(tails);
    self->resolve = Py_NewRef(resolve);
    self->known = known;
    return (PyObject *)self;
}

static int router_traverse(Router *self, visitproc visit, void *arg) {
    Py_VISIT(self->resolve);
    Py_VISIT(self->known);
    return 0;
}

static void router_dealloc(Router *self) {
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->head);
    Py_XDECREF(self->tails);
    Py_XDECREF(self->resolve);
    Py_XDECREF(self->known);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

static PyObject *router_route(Router *self, PyObject *frame) {
    if (!PyBytes_Check(frame)) {
        PyErr_SetString(PyExc_TypeError, "a frame is bytes");
        return NULL;
    }
    const char *begin = PyBytes_AS_STRING(frame);
    Py_ssize_t length = PyBytes_GET_SIZE(frame);
    if (!begins(begin, length, self->head) || !ends(begin, length, self->tails)) Py_RETURN_NONE;
    const char *name = begin + PyBytes_GET_SIZE(self->head);
    const char *end = memchr(name, '"', (size_t)(begin + length - name));
    if (end == NULL) Py_RETURN_NONE;
    PyObject *key = PyBytes_FromStringAndSize(name, end - name);
    if (key == NULL) return NULL;
    PyObject *symbol = PyDict_GetItemWithError(self->known, key);
    if (symbol != NULL) {
        Py_INCREF(symbol);
    } else if (!PyErr_Occurred()) {
        symbol = PyObject_CallOneArg(self->resolve, key);
        if (symbol != NULL && symbol != Py_None && PyDict_GET_SIZE(self->known) < KNOWN_MAX &&
            PyDict_SetItem(self->known, key, symbol) < 0)
            Py_CLEAR(symbol);
    }
    Py_DECREF(key);
    return symbol;
}

static PyMethodDef router_methods[] = {
    {"route", (PyCFunction)router_route, METH_O, NULL},
    {NULL},
};

static PyTypeObject RouterType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "arbshard._native.Router",
    .tp_basicsize = sizeof(Router),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = router_new,
    .tp_dealloc = (destructor)router_dealloc,
    .tp_traverse = (traverseproc)router_traverse,
    .tp_methods = router_methods,
};

/* TopReader(head, tails, steps, order, make): reads the best prices of a usual frame.
 *
 * `steps` are five pieces of text with a number behind each of the first four. A piece must follow at once, except
 * that a part of it between two stars is searched for. `order` has the places of bid, bid size, ask and ask size among
 * the numbers. `read(frame, received_ns)` returns make(bid, bid_size, ask, ask_size, received_ns), and None for a frame
 * of another form or with a top that cannot be trusted: the caller then decodes the frame. */

typedef struct {
    const char *text;
    size_t size;
} Piece;

typedef struct {
    Piece before, searched, after;
} Step;

typedef struct {
    PyObject_HEAD
    PyObject *head, *tails, *steps, *make;
    Step parts[5]; /* of `steps`, which holds the bytes */
    int order[4];
} TopReader;

static Step step_of(PyObject *bytes) {
    const char *begin = PyBytes_AS_STRING(bytes), *end = begin + PyBytes_GET_SIZE(bytes);
    const char *first = memchr(begin, '*', (size_t)(end - begin));
    if (first == NULL) return (Step){.before = {begin, (size_t)(end - begin)}};
    const char *second = memchr(first + 1, '*', (size_t)(end - first - 1));
    if (second == NULL) second = end;
    const char *after = second < end ? second + 1 : end;
    return (Step){
        {begin, (size_t)(first - begin)}, {first + 1, (size_t)(second - first - 1)}, {after, (size_t)(end - after)}};
}

/* Returns what is behind `piece` at this place; NULL if something else is there. */
static const char *expect(const char *at, const char *end, Piece piece) {
    return (size_t)(end - at) >= piece.size && memcmp(at, piece.text, piece.size) == 0 ? at + piece.size : NULL;
}

static PyObject *top_new(PyTypeObject *type, PyObject *args, PyObject *Py_UNUSED(kwargs)) {
    PyObject *head, *tails, *steps, *make;
    int order[4];
    if (!PyArg_ParseTuple(args, "SO!O!(iiii)O", &head, &PyTuple_Type, &tails, &PyTuple_Type, &steps, &order[0],
                          &order[1], &order[2], &order[3], &make) ||
        !are_bytes(tails) || !are_bytes(steps))
        return NULL;
    int seen = 0;
    for (int n = 0; n < 4; n++) seen |= order[n] >= 0 && order[n] < 4 ? 1 << order[n] : 0;
    if (PyTuple_GET_SIZE(steps) != 5 || seen != 15) {
        PyErr_SetString(PyExc_ValueError, "five steps and an order of four numbers are needed");
        return NULL;
    }
    TopReader *self = (TopReader *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->head = Py_NewRef(head);
    self->tails = Py_NewRef(tails);
    self->steps = Py_NewRef(steps);
    self->make = Py_NewRef(make);
    memcpy(self->order, order, sizeof order);
    for (int n = 0; n < 5; n++) self->parts[n] = step_of(PyTuple_GET_ITEM(steps, n));
    return (PyObject *)self;
}

static int top_traverse(TopReader *self, visitproc visit, void *arg) {
    Py_VISIT(self->make);
    return 0;
}

static void top_dealloc(TopReader *self) {
    PyObject_GC_UnTrack(self);
    Py_XDECREF(self->head);
    Py_XDECREF(self->tails);
    Py_XDECREF(self->steps);
    Py_XDECREF(self->make);
    Py_TYPE(self)->tp_free((PyObject *)self);
}

/* Reads a JSON number without a sign. Returns what is behind it; NULL if there is none, or one of an unusual form. */
static const char *number_at(const char *at, const char *end, double *value) {
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    const char *begin = at;
    word mantissa = 0;
    int digits = 0, places = 0;
    for (; at < end && *at >= '0' && *at <= '9'; at++, digits++) mantissa = mantissa * 10 + (word)(*at - '0');
    if (digits == 0 || (digits > 1 && *begin == '0')) return NULL;
    if (at < end && *at == '.') {
        const char *point = at++;
        for (; at < end && *at >= '0' && *at <= '9'; at++, digits++) mantissa = mantissa * 10 + (word)(*at - '0');
        places = (int)(at - point - 1);
        if (places == 0) return NULL;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '+' || *at == '-')) at++;
        const char *power = at;
        while (at < end && *at >= '0' && *at <= '9') at++;
        if (at == power) return NULL;
        digits = 99; /* the slower way */
    }
    /* Both are exact below 2^53 and up to 10^22, so that their quotient is the nearest double. */
    if (digits <= 18 && mantissa <= (word)1 << 53 && places <= 22) {
        *value = (double)mantissa / powers[places];
        return at;
    }
    char *stop; /* the frame ends with a zero byte, as all bytes objects do */
    *value = PyOS_string_to_double(begin, &stop, NULL);
    if (*value == -1.0 && PyErr_Occurred()) {
        PyErr_Clear(); /* not a number, or too large: the caller decodes the frame */
        return NULL;
    }
    return stop == at ? at : NULL;
}

static PyObject *top_read(TopReader *self, PyObject *const *args, Py_ssize_t nargs) {
    if (!is_count(nargs, 2)) return NULL;
    if (!PyBytes_Check(args[0])) {
        PyErr_SetString(PyExc_TypeError, "a frame is bytes");
        return NULL;
    }
    const char *at = PyBytes_AS_STRING(args[0]), *end = at + PyBytes_GET_SIZE(args[0]);
    if (!begins(at, end - at, self->head) || !ends(at, end - at, self->tails)) Py_RETURN_NONE;
    double numbers[4];
    for (int n = 0; n < 5; n++) {
        const Step *step = &self->parts[n];
        at = expect(at, end, step->before);
        if (at == NULL) Py_RETURN_NONE;
        if (step->searched.size > 0) {
            at = memmem(at, (size_t)(end - at), step->searched.text, step->searched.size);
            if (at == NULL) Py_RETURN_NONE;
            at = expect(at + step->searched.size, end, step->after);
            if (at == NULL) Py_RETURN_NONE;
        }
        if (n < 4) {
            at = number_at(at, end, &numbers[n]);
            if (at == NULL || at == end || strchr("\",}]", *at) == NULL) Py_RETURN_NONE;
        }
    }
    double bid = numbers[self->order[0]], bid_size = numbers[self->order[1]];
    double ask = numbers[self->order[2]], ask_size = numbers[self->order[3]];
    if (!(0.0 < bid && bid < ask && ask < INFINITY && 0.0 < bid_size && bid_size < INFINITY && 0.0 < ask_size &&
          ask_size < INFINITY))
        Py_RETURN_NONE;
    PyObject *top = NULL, *parts[5] = {PyFloat_FromDouble(bid), PyFloat_FromDouble(bid_size), PyFloat_FromDouble(ask),
                                       PyFloat_FromDouble(ask_size), args[1]};
    if (parts[0] != NULL && parts[1] != NULL && parts[2] != NULL && parts[3] != NULL)
        top = PyObject_Vectorcall(self->make, parts, 5, NULL);
    for (int n = 0; n < 4; n++) Py_XDECREF(parts[n]);
    return top;
}

static PyMethodDef top_methods[] = {
    {"read", (PyCFunction)(void (*)(void))top_read, METH_FASTCALL, NULL},
    {NULL},
};

static PyTypeObject TopReaderType = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "arbshard._native.TopReader",
    .tp_basicsize = sizeof(TopReader),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = top_new,
    .tp_dealloc = (destructor)top_dealloc,
    .tp_traverse = (traverseproc)top_traverse,
    .tp_methods = top_methods,
};

/* number_after(frame, key): venues/frame.py's number_after. */
static PyObject *number_after(PyObject *Py_UNUSED(self), PyObject *const *args, Py_ssize_t nargs) {
    if (!is_count(nargs, 2)) return NULL;
    if (!PyBytes_Check(args[0]) || !PyBytes_Check(args[1])) {
        PyErr_SetString(PyExc_TypeError, "frame and key are bytes");
        return NULL;
    }
    const char *at = PyBytes_AS_STRING(args[0]), *end = at + PyBytes_GET_SIZE(args[0]);
    size_t size = (size_t)PyBytes_GET_SIZE(args[1]);
    at = memmem(at, (size_t)(end - at), PyBytes_AS_STRING(args[1]), size);
    if (at == NULL) Py_RETURN_NONE;
    at += size;
    const char *begin = at;
    word number = 0;
    for (; at < end && *at >= '0' && *at <= '9'; at++) number = number * 10 + (word)(*at - '0');
    if (at == begin || at - begin > 20) Py_RETURN_NONE;
    if (at - begin < 20) return PyLong_FromUnsignedLongLong(number);
    char digits[21] = {0}; /* it may not fit into a word */
    memcpy(digits, begin, 20);
    return PyLong_FromString(digits, NULL, 10);
}

static PyMethodDef functions[] = {
    {"number_after", (PyCFunction)(void (*)(void))number_after, METH_FASTCALL, NULL},
    {NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "arbshard._native",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__native(void) {
    PyObject *errors = PyImport_ImportModule("arbshard.errors");
    if (errors == NULL) return NULL;
    FrameError = PyObject_GetAttrString(errors, "FrameError");
    Py_DECREF(errors);
    PyObject *self = FrameError == NULL ? NULL : PyModule_Create(&module);
    if (self == NULL || PyModule_AddType(self, &MemoryType) < 0 || PyModule_AddType(self, &SlotsType) < 0 ||
        PyModule_AddType(self, &RingType) < 0 || PyModule_AddType(self, &NotifierType) < 0 ||
        PyModule_AddType(self, &CellsType) < 0 || PyModule_AddType(self, &RouterType) < 0 ||
        PyModule_AddType(self, &TopReaderType) < 0 || PyModule_AddIntConstant(self, "SOURCE", SOURCE_CRC) < 0) {
        Py_XDECREF(self);
        return NULL;
    }
    return self;
}
