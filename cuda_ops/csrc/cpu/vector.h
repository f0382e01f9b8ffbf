// The vectors of an instruction set; included once for each by isa.h.
namespace ISA {

// BYTES of numbers; may_alias, because the arrays hold plain T.
template <typename T>
struct Vector {
  typedef T type __attribute__((vector_size(BYTES), may_alias));
};

}  // namespace ISA
