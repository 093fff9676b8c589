// Real work in a real jail: the libraries of the image, with threads, processes, files and plots.
// Nothing on stderr: a library that warns about its jail teaches people to ignore warnings.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/integration/verdicts/verdict.h"

namespace jailrun::test {
namespace {

void expect_works(const std::string& script, const std::string& printed) {
  const Judged run = judged(script);
  EXPECT_EQ(run.result["verdict"], "ok") << run.result["stderr"];
  EXPECT_EQ(run.result["stdout"], printed);
  EXPECT_EQ(run.result["stderr"], "");
}

TEST(Libraries, PandasParquetAndPolarsPassATableAround) {
  expect_works(
      "import pandas as pd, polars as pl\n"
      "pd.DataFrame({'a': [1, 2, 1], 'b': [1.0, 2.0, 3.0]}).to_parquet('/work/t.parquet')\n"
      "print(pd.read_parquet('/work/t.parquet').groupby('a').b.sum().tolist())\n"
      "print(pl.read_parquet('/work/t.parquet').select(pl.col('b').sum()).item())",
      "[4.0, 2.0]\n6.0\n");
}

TEST(Libraries, DuckdbIsAsLargeAsTheJailAndNotAsTheHost) {
  expect_works(
      "import duckdb\n"
      "for c in (duckdb, duckdb.connect('/work/a.db')):\n"
      "    print(c.sql(\"select current_setting('memory_limit'), current_setting('threads'), "
      "current_setting('temp_directory')\").fetchall())",
      "[('307.1 MiB', 1, '/work/.duckdb')]\n[('307.1 MiB', 1, '/work/.duckdb')]\n");
}

TEST(Libraries, ProcessesThreadsAndSharedMemoryWork) {
  expect_works(
      "import multiprocessing as mp, threading, os\n"
      "from joblib import Parallel, delayed\n"
      "with mp.Pool(2) as pool: print(pool.map(abs, [-1, 2]))\n"
      "shared = mp.Manager().dict(); shared['x'] = 1; print(dict(shared))\n"
      "t = threading.Thread(target=print, args=('thread',)); t.start(); t.join()\n"
      "print(Parallel(n_jobs=2)(delayed(abs)(i) for i in (-3, 4)))\n"
      "print(os.cpu_count(), len(os.sched_getaffinity(0)))",
      "[1, 2]\n{'x': 1}\nthread\n[3, 4]\n1 1\n");
}

TEST(Libraries, ModelsAndPlotsWorkAndThePlotComesOut) {
  const Judged run = judged(
      "import numpy as np, seaborn as sns, matplotlib.pyplot as plt, statsmodels.api as sm\n"
      "from sklearn.cluster import KMeans\n"
      "tips = sns.load_dataset('tips')\n"
      "print(KMeans(2, n_init=1, random_state=0).fit(tips[['tip']]).n_features_in_)\n"
      "print(round(sm.OLS(tips.tip, sm.add_constant(tips.total_bill)).fit().rsquared, 2))\n"
      "sns.scatterplot(tips, x='total_bill', y='tip'); plt.savefig('/work/plot.png')");
  EXPECT_EQ(run.result["stdout"], "1\n0.46\n");
  EXPECT_EQ(run.result["stderr"], "");
  ASSERT_EQ(run.result["files"].size(), 1u);
  EXPECT_EQ(run.result["files"][0]["name"], "plot.png");
  EXPECT_EQ(run.result["files"][0]["media_type"], "image/png");
}

}  // namespace
}  // namespace jailrun::test
