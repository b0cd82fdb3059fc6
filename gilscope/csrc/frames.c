#define _GNU_SOURCE
#include "frames.h"

#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "layout.h"

static bool locate(struct gs_frames *f, unsigned python_hex, struct gs_why *why)
{
    struct gs_cpython c;
    const struct gs_wanted_field wanted[] = {{GS_THREAD_FRAME, &f->thread_frame},
                                             {GS_CFRAME_FRAME, &f->cframe_frame},
                                             {GS_FRAME_CODE, &f->code},
                                             {GS_FRAME_PREVIOUS, &f->previous},
                                             {GS_FRAME_INSTR, &f->instr},
                                             {GS_FRAME_OWNER, &f->owner},
                                             {GS_OBJECT_TYPE, &f->code_type},
                                             {GS_CODE_FILE, &f->file},
                                             {GS_CODE_NAME, &f->name},
                                             {GS_CODE_LINES, &f->lines},
                                             {GS_CODE_FIRST_LINE, &f->first_line},
                                             {GS_CODE_INSTRS, &f->instrs},
                                             {GS_STR_LENGTH, &f->str_length},
                                             {GS_STR_STATE, &f->str_state},
                                             {GS_STR_ASCII, &f->str_ascii},
                                             {GS_BYTES_SIZE, &f->bytes_size},
                                             {GS_BYTES_DATA, &f->bytes_data}};
    if (!gs_cpython_find(&c, python_hex, why) ||
        !gs_cpython_offsets(&c, wanted, sizeof wanted / sizeof *wanted, why))
        return false;
    f->through_cframe = c.row->through_cframe;
    f->str_other = f->str_ascii + c.row->str_other_after_ascii;
    return true;
}

/* ---- strings and bytes ---- */

static size_t put_utf8(char *to, uint32_t c)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c <
        0x10000) { /* lone surrogates of undecodable file names too, as Python's surrogatepass */
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3f));
        to[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | (c >> 18 & 7));
    to[1] = (char)(0x80 | (c >> 12 & 0x3f));
    to[2] = (char)(0x80 | (c >> 6 & 0x3f));
    to[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

static uint32_t character(const void *data, unsigned kind, size_t i)
{
    return kind == 1   ? ((const uint8_t *)data)[i]
           : kind == 2 ? ((const uint16_t *)data)[i]
                       : ((const uint32_t *)data)[i];
}

/* Returns how many bytes were written; whole characters only. */
static size_t to_utf8(const void *data, unsigned kind, size_t length, char *to, size_t most)
{
    size_t size = 0;
    for (size_t i = 0; i < length && size + 4 <= most; i++)
        size += put_utf8(to + size, character(data, kind, i));
    return size;
}

/* Where the characters of a string stand, from its beginning; 0: in a way that is not known. */
static size_t characters_at(const struct gs_frames *f, uint32_t state)
{
    unsigned kind = GS_STR_KIND(state);
    if (!GS_STR_IS_COMPACT(state) || (kind != 1 && kind != 2 && kind != 4))
        return 0;
    return GS_STR_IS_ASCII(state) ? f->str_ascii : f->str_other;
}

static size_t read_str(const struct gs_frames *f, uintptr_t str, char *to, size_t most)
{
    uint32_t state = *(const uint32_t *)(str + f->str_state);
    size_t length = *(const size_t *)(str + f->str_length), at = characters_at(f, state);
    return at ? to_utf8((const void *)(str + at), GS_STR_KIND(state), length, to, most) : 0;
}

static struct gs_text bytes_of(const struct gs_frames *f, uintptr_t bytes)
{
    return (struct gs_text){(const char *)(bytes + f->bytes_data),
                            *(const size_t *)(bytes + f->bytes_size)};
}

/* ---- code ---- */

static uintptr_t type_of(const struct gs_frames *f, uintptr_t object)
{
    return gs_frames_load(object + f->code_type);
}

bool gs_frames_is_code(const struct gs_frames *f, uintptr_t code)
{
    if (!code || type_of(f, code) != f->type)
        return false;
    uintptr_t name = gs_frames_load(code + f->name), file = gs_frames_load(code + f->file);
    bool has_line = *(const uint32_t *)(code + f->first_line) != 0;
    return name && file && gs_frames_load(code + f->lines) && (has_line || name != file);
}

void gs_frames_read(const struct gs_frames *f, uintptr_t code, struct gs_code_text *to)
{
    to->first_line = *(const uint32_t *)(code + f->first_line);
    to->lines = bytes_of(f, gs_frames_load(code + f->lines));
    to->name_size = read_str(f, gs_frames_load(code + f->name), to->name, sizeof to->name);
    to->file_size = read_str(f, gs_frames_load(code + f->file), to->file, sizeof to->file);
}

/* A PyVarObject, as bytes are, of code units of two bytes. */
size_t gs_frames_size(const struct gs_frames *f, uintptr_t code)
{
    return 2 * *(const size_t *)(code + f->bytes_size);
}

/* ---- what another thread does ---- */

#define MOST_LOOKS 16 /* a torn list may be a circle */

struct look {
    uintptr_t code, instr, previous;
    uint8_t owner;
};

/* Reads the frame twice: if the thread changes it meanwhile, the two differ. */
static bool look_at(const struct gs_frames *f, uintptr_t frame, struct look *to)
{
    struct look again = {0};
    struct iovec here[] = {{&to->code, 8},       {&to->instr, 8},  {&to->previous, 8},
                           {&to->owner, 1},      {&again.code, 8}, {&again.instr, 8},
                           {&again.previous, 8}, {&again.owner, 1}};
    struct iovec there[] = {{(void *)(frame + f->code), 8},     {(void *)(frame + f->instr), 8},
                            {(void *)(frame + f->previous), 8}, {(void *)(frame + f->owner), 1},
                            {(void *)(frame + f->code), 8},     {(void *)(frame + f->instr), 8},
                            {(void *)(frame + f->previous), 8}, {(void *)(frame + f->owner), 1}};
    if (process_vm_readv(getpid(), here, 8, there, 8, 0) != 50 || to->code != again.code ||
        to->instr != again.instr || to->previous != again.previous || to->owner != again.owner)
        return false;
    to->code &= ~GS_REFERENCE_MARKS;
    return true;
}

void gs_frames_glimpse(const struct gs_frames *f, uintptr_t tstate, struct gs_glimpse *to)
{
    uintptr_t frame;
    struct look look;
    to->n = 0;
    if (!gs_layout_read(&frame, tstate + f->thread_frame, sizeof frame) ||
        (f->through_cframe && !gs_layout_read(&frame, frame + f->cframe_frame, sizeof frame)))
        return;
    for (int looks = 0; frame && to->n < GS_GLIMPSED && looks < MOST_LOOKS; looks++) {
        if (!look_at(f, frame, &look))
            return;
        if (look.owner < GS_FIRST_SHIM_OWNER)
            to->at[to->n++] = (struct gs_seen){frame, look.code, look.instr};
        frame = look.previous;
    }
}

bool gs_frames_still(const struct gs_frames *f, const struct gs_seen *seen)
{
    struct look look;
    return look_at(f, seen->frame, &look) && look.code == seen->code && look.instr == seen->instr;
}

bool gs_frames_meet(const struct gs_glimpse *glimpse, const struct gs_frame *frames, size_t n,
                    size_t *own, uint32_t *seen)
{
    for (*seen = 0; *seen < glimpse->n; ++*seen)
        for (*own = 0; *own < n; ++*own)
            if (frames[*own].address == glimpse->at[*seen].frame &&
                frames[*own].code == glimpse->at[*seen].code)
                return true;
    return false;
}

static size_t read_far_str(const struct gs_frames *f, uintptr_t str, char *to, size_t most)
{
    uint32_t state, data[1024];
    size_t length;
    struct iovec here[] = {{&state, sizeof state}, {&length, sizeof length}};
    struct iovec there[] = {{(void *)(str + f->str_state), sizeof state},
                            {(void *)(str + f->str_length), sizeof length}};
    if (process_vm_readv(getpid(), here, 2, there, 2, 0) != sizeof state + sizeof length)
        return 0;
    size_t at = characters_at(f, state);
    if (length > sizeof data / 4)
        length = sizeof data / 4;
    if (!at || !gs_layout_read(data, str + at, length * GS_STR_KIND(state)))
        return 0;
    return to_utf8(data, GS_STR_KIND(state), length, to, most);
}

static size_t read_far_bytes(const struct gs_frames *f, uintptr_t bytes, char *to, size_t most)
{
    size_t size;
    return gs_layout_read(&size, bytes + f->bytes_size, sizeof size) && size <= most &&
                   gs_layout_read(to, bytes + f->bytes_data, size)
               ? size
               : 0;
}

bool gs_frames_read_far(const struct gs_frames *f, uintptr_t code, struct gs_far_code *to)
{
    struct gs_code_text *text = &to->text;
    uintptr_t type, name, file, lines;
    struct iovec here[] = {{&type, 8},  {&name, 8},     {&file, 8},
                           {&lines, 8}, {&to->size, 8}, {&text->first_line, 4}};
    struct iovec there[] = {
        {(void *)(code + f->code_type), 8},  {(void *)(code + f->name), 8},
        {(void *)(code + f->file), 8},       {(void *)(code + f->lines), 8},
        {(void *)(code + f->bytes_size), 8}, {(void *)(code + f->first_line), 4}};
    if (process_vm_readv(getpid(), here, 6, there, 6, 0) != 44 || type != f->type)
        return false;
    if (!text->first_line && name == file) /* see gs_frames_is_code */
        return false;
    to->size *= 2;
    text->lines = (struct gs_text){to->lines, read_far_bytes(f, lines, to->lines, GS_FAR_LINES)};
    text->name_size = read_far_str(f, name, text->name, sizeof text->name);
    text->file_size = read_far_str(f, file, text->file, sizeof text->file);
    return text->lines.size && text->name_size && text->file_size;
}

/* ---- proof ---- */

static bool readable(uintptr_t address, size_t n)
{
    char there[512];
    return n <= sizeof there && gs_layout_read(there, address, n);
}

static bool same(struct gs_text expected, const char *text, size_t size)
{
    return expected.size == size && memcmp(expected.text, text, size) == 0;
}

static bool prove_strings(const struct gs_frames *f, const struct gs_known_frame *known,
                          struct gs_why *why)
{
    for (size_t i = 0; i < GS_KNOWN_STRINGS; i++) {
        char text[64];
        size_t size = read_str(f, (uintptr_t)known->strings[i].object, text, sizeof text);
        if (!same(known->strings[i].utf8, text, size))
            return gs_refuse(why, "expected to read the string '%s', read '%.*s'",
                             known->strings[i].utf8.text, (int)size, text);
    }
    return true;
}

static bool prove_code(const struct gs_frames *f, const struct gs_known_frame *known,
                       struct gs_why *why)
{
    static struct gs_code_text text; /* under the GIL */
    const uint16_t fields[] = {f->file, f->name, f->lines, f->first_line};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (!readable((uintptr_t)known->code + fields[i], sizeof(uintptr_t)))
            return gs_refuse(why, "expected a code object with a field at %u", fields[i]);
    for (size_t i = 0; i < 3; i++)
        if (!readable(gs_frames_load((uintptr_t)known->code + fields[i]), 64))
            return gs_refuse(why, "expected a code object with a string at %u", fields[i]);
    if (!gs_frames_is_code(f, (uintptr_t)known->code))
        return gs_refuse(why, "expected the caller's code object to have a name and a file");
    gs_frames_read(f, (uintptr_t)known->code, &text);
    if (!same(known->name, text.name, text.name_size) ||
        !same(known->file, text.file, text.file_size))
        return gs_refuse(why, "expected the caller to be %s in %s, found %.*s in %.*s",
                         known->name.text, known->file.text, (int)text.name_size, text.name,
                         (int)text.file_size, text.file);
    if (text.first_line != (uint64_t)known->first_line ||
        !same(known->lines, text.lines.text, text.lines.size))
        return gs_refuse(
            why,
            "expected the caller's first line to be %lld, with a line table of %zu bytes, "
            "found %u and %zu",
            (long long)known->first_line, known->lines.size, text.first_line, text.lines.size);
    if (gs_frames_size(f, (uintptr_t)known->code) != (uint64_t)known->size)
        return gs_refuse(why, "expected the caller to have %lld bytes of instructions, found %zu",
                         (long long)known->size, gs_frames_size(f, (uintptr_t)known->code));
    return true;
}

static bool prove_stack(const struct gs_frames *f, const void *tstate,
                        const struct gs_known_frame *known, struct gs_why *why)
{
    uintptr_t p = (uintptr_t)tstate;
    struct gs_frame frame = {0}, caller = {0};
    if (!gs_layout_read(&p, p + f->thread_frame, sizeof p) ||
        (f->through_cframe && !gs_layout_read(&p, p + f->cframe_frame, sizeof p)) ||
        !readable(p, 256))
        return gs_refuse(why, "expected this thread to have a frame, found none at %p", (void *)p);
    if (!gs_frames_next(f, &p, &frame) || frame.code != (uintptr_t)known->code)
        return gs_refuse(why, "expected the innermost frame to run the code at %p, found %p",
                         known->code, (void *)frame.code);
    if ((int32_t)frame.offset != known->offset)
        return gs_refuse(why, "expected the innermost frame at instruction %lld, found %d",
                         (long long)known->offset, (int32_t)frame.offset);
    if (known->caller &&
        (!gs_frames_next(f, &p, &caller) || caller.code != (uintptr_t)known->caller))
        return gs_refuse(why, "expected the next frame to run the code at %p, found %p",
                         known->caller, (void *)caller.code);
    return true;
}

bool gs_frames_prove(struct gs_frames *f, unsigned python_hex, const void *tstate,
                     const struct gs_known_frame *known, struct gs_why *why)
{
    if (!locate(f, python_hex, why))
        return false;
    f->type = type_of(f, (uintptr_t)known->code);
    return prove_stack(f, tstate, known, why) && prove_code(f, known, why) &&
           prove_strings(f, known, why);
}
