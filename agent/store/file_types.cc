#include "agent/store/file_types.h"

#include <algorithm>
#include <cctype>
#include <string_view>

namespace jailrun::store {
namespace {

struct Row {
  const char* extensions;  // between spaces
  const char* type;
  const char* media;
};

constexpr Row kRows[] = {
    {" csv ", "csv", "text/csv"},
    {" tsv tab ", "tsv", "text/tab-separated-values"},
    {" psv ", "csv", "text/plain"},
    {" xlsx xlsm xltx xltm ", "excel",
     "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
    {" xls xlt ", "excel", "application/vnd.ms-excel"},
    {" xlsb ", "excel", "application/vnd.ms-excel.sheet.binary.macroEnabled.12"},
    {" ods ots ", "ods", "application/vnd.oasis.opendocument.spreadsheet"},
    {" json ", "json", "application/json"},
    {" jsonl ndjson ", "jsonl", "application/x-ndjson"},
    {" geojson ", "geojson", "application/geo+json"},
    {" parquet pq ", "parquet", "application/vnd.apache.parquet"},
    {" feather arrow ", "feather", "application/vnd.apache.arrow.file"},
    {" arrows ", "feather", "application/vnd.apache.arrow.stream"},
    {" orc avro ", "columnar", "application/octet-stream"},
    {" h5 hdf hdf5 he5 ", "hdf", "application/x-hdf5"},
    {" nc cdf ", "netcdf", "application/x-netcdf"},
    {" pickle pkl joblib ", "pickle", "application/octet-stream"},
    {" npy npz ", "numpy", "application/octet-stream"},
    {" db sqlite sqlite3 db3 ", "sqlite", "application/vnd.sqlite3"},
    {" duckdb ", "duckdb", "application/octet-stream"},
    {" mdb accdb ", "database", "application/vnd.ms-access"},
    {" sql ", "sql", "application/sql"},
    {" dta ", "stata", "application/x-stata-dta"},
    {" sas7bdat xpt ", "sas", "application/x-sas-data"},
    {" sav zsav por ", "spss", "application/x-spss-sav"},
    {" rdata rds rda ", "r", "application/octet-stream"},
    {" mat ", "matlab", "application/x-matlab-data"},
    {" yaml yml ", "yaml", "application/yaml"},
    {" toml ", "toml", "application/toml"},
    {" xml xsd xsl xslt rss atom kml gpx ", "xml", "application/xml"},
    {" shp shx dbf prj gpkg ", "geo", "application/octet-stream"},
    {" txt text log nfo lst ", "text", "text/plain"},
    {" md markdown mdx ", "text", "text/markdown"},
    {" rst tex bib adoc org srt vtt diff patch ", "text", "text/plain"},
    {" ini cfg conf properties env editorconfig gitignore ", "config", "text/plain"},
    {" html htm xhtml ", "html", "text/html"},
    {" css scss sass less ", "code", "text/css"},
    {" js mjs cjs jsx ", "code", "text/javascript"},
    {" ts tsx vue svelte ", "code", "text/plain"},
    {" py pyw pyi pyx ", "code", "text/x-python"},
    {" ipynb ", "notebook", "application/x-ipynb+json"},
    {" c h cc cpp cxx hh hpp m mm ", "code", "text/x-c"},
    {" java kt kts scala groovy gradle clj ", "code", "text/plain"},
    {" cs fs vb ", "code", "text/plain"},
    {" go rs rb php pl pm lua swift dart zig nim ", "code", "text/plain"},
    {" r rmd jl hs ml erl ex exs lisp el f90 f for pas asm s v vhd ", "code", "text/plain"},
    {" sh bash zsh fish bat cmd ps1 awk ", "code", "text/plain"},
    {" proto graphql cmake mk dockerfile tf ", "code", "text/plain"},
    {" pdf ", "pdf", "application/pdf"},
    {" ps eps ", "document", "application/postscript"},
    {" doc dot ", "document", "application/msword"},
    {" docx ", "document",
     "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
    {" odt ", "document", "application/vnd.oasis.opendocument.text"},
    {" rtf ", "document", "application/rtf"},
    {" epub mobi ", "document", "application/epub+zip"},
    {" ppt ", "presentation", "application/vnd.ms-powerpoint"},
    {" pptx ", "presentation",
     "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
    {" odp ", "presentation", "application/vnd.oasis.opendocument.presentation"},
    {" eml msg ", "mail", "message/rfc822"},
    {" ics vcf ", "text", "text/plain"},
    {" png ", "image", "image/png"},
    {" jpg jpeg jpe jfif ", "image", "image/jpeg"},
    {" gif ", "image", "image/gif"},
    {" bmp ", "image", "image/bmp"},
    {" tif tiff ", "image", "image/tiff"},
    {" webp ", "image", "image/webp"},
    {" svg ", "image", "image/svg+xml"},
    {" ico ", "image", "image/vnd.microsoft.icon"},
    {" heic heif avif ", "image", "image/heic"},
    {" mp3 ", "audio", "audio/mpeg"},
    {" wav ", "audio", "audio/wav"},
    {" flac ", "audio", "audio/flac"},
    {" ogg oga opus ", "audio", "audio/ogg"},
    {" m4a aac ", "audio", "audio/mp4"},
    {" mid midi ", "audio", "audio/midi"},
    {" mp4 m4v ", "video", "video/mp4"},
    {" avi ", "video", "video/x-msvideo"},
    {" mov ", "video", "video/quicktime"},
    {" mkv webm ", "video", "video/webm"},
    {" zip ", "archive", "application/zip"},
    {" tar ", "archive", "application/x-tar"},
    {" gz tgz ", "archive", "application/gzip"},
    {" bz2 xz zst lz4 7z rar ", "archive", "application/octet-stream"},
    {" fasta fa fna faa fastq fq gb gbk gff gtf bed vcf sam pdb ", "sequence", "text/plain"},
    {" bam cram ", "sequence", "application/octet-stream"},
    {" ttf otf woff woff2 ", "font", "font/sfnt"},
    {" pt pth onnx safetensors pb tflite ", "model", "application/octet-stream"},
    {" bin dat exe dll so o wasm ", "binary", "application/octet-stream"},
};

}  // namespace

FileType type_of(const std::string& name) {
  const std::size_t dot = name.rfind('.');
  std::string wanted = " ";
  if (dot != std::string::npos && dot + 1 < name.size()) {
    for (const char letter : name.substr(dot + 1))
      wanted += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    wanted += ' ';
    const bool one_word = std::ranges::count(wanted, ' ') == 2;
    for (const Row& row : kRows)
      if (one_word && std::string_view(row.extensions).find(wanted) != std::string_view::npos)
        return {row.type, row.media};
  }
  return {"binary", "application/octet-stream"};
}

std::size_t known_extensions() {
  std::size_t count = 0;
  for (const Row& row : kRows)
    count +=
        static_cast<std::size_t>(std::ranges::count(std::string_view(row.extensions), ' ')) - 1;
  return count;
}

}  // namespace jailrun::store
