# frozen_string_literal: true

require_relative "application"
require_relative "changeover"
require_relative "places"
require_relative "server"

# The proof on one database, told line by line.
class Proof
  PLACES = { sqlite: SqlitePlace, postgres: PostgresPlace }.freeze
  EXAMPLE = File.expand_path("../..", __dir__)
  FLAG = {
    key: Changeover::NAME, type: "string", change: Changeover::NAME, variants: { old: "old", new: "new" }, default_variant: "old",
    off_variant: "old", rules: [{ cohort: "pilot", serve: { variant: "new" } }]
  }.freeze

  # Accounts that new code makes: each user with an even id joins the account of the user before, if both are there. Accounts with charges
  # of a month that the application alone has closed are left out: README, "Known gap".
  SHARE = "INSERT INTO memberships (account_id, user_id, role, weight) " \
          "SELECT a.id, u.id, 'member', 1 + u.id % 3 FROM users u JOIN accounts a ON a.owner_id = u.id - 1 " \
          "WHERE u.id % 2 = 0 AND NOT EXISTS (SELECT 1 FROM memberships m WHERE m.account_id = a.id AND m.user_id = u.id) " \
          "AND NOT EXISTS (SELECT 1 FROM charges c JOIN periods p ON p.period = c.period JOIN video_accounts v ON v.video_id = c.video_id " \
          "WHERE p.closed AND v.account_id = a.id)"

  def self.all(binary, kinds)
    before = Application.checksums
    processes = kinds.map { |kind| fork { PLACES.fetch(kind).open { |place| new(binary, place, kind).run } } }
    return false unless processes.map { |process| Process.wait2(process).last.success? }.all?

    changed = before.to_a.difference(Application.checksums.to_a) | Application.checksums.to_a.difference(before.to_a)
    abort "proof: the application's source differs: #{changed.map(&:first).uniq.join(', ')}" unless changed.empty?
    puts "#{before.size} files of the application, not a line changed."
    true
  end

  def initialize(binary, place, kind)
    @place = place
    @kind = kind
    @application = Application.new(place.application_url)
    @changeover = Changeover.new(binary, place)
    @environment = @changeover.environment
  end

  def run
    @application.set_up
    test("no translation", "keep", "transaction")
    night("no translation")
    install
    dualwrite
    shadow
    live
    cleaned
  rescue Application::Failed, Changeover::Failed => e
    abort "proof: #{@kind}: #{e.message}"
  end

  private

  def install
    new_model = File.read("#{EXAMPLE}/#{@place.schema}")[/^-- The new model.*/m]
    @place.execute(new_model)
    @changeover.run("change", "install", change_file)
    test("off", "keep")
  end

  # As it is, but that on PostgreSQL the application's tests use TRUNCATE: what that does is the change file's to say.
  def change_file
    text = File.read("#{EXAMPLE}/change.toml")
    text = text.sub(/^title /, "truncate = \"propagate\"\n\\0") if @kind == :postgres
    path = "#{@place.directory}/change.toml"
    File.write(path, text)
    path
  end

  # Old code works while what was there before is filled in.
  def dualwrite
    @changeover.stage("dualwrite")
    test("dualwrite, not filled", "keep")
    @changeover.run("backfill", Changeover::NAME)
    # On PostgreSQL a batch divides a refund of a closed month before the charge that it reverses is there: README, "Known gap".
    @changeover.run("repair", Changeover::NAME)
    verified
    test("dualwrite", "keep")
    night("dualwrite")
    verified
  end

  def shadow
    @changeover.stage("shadow")
    @place.execute(SHARE)
    verified
    test("shadow", "keep")
    night("shadow")
    verified
  end

  def live
    @changeover.create_flag(FLAG)
    @changeover.run("change", "laws", Changeover::NAME, "--sample", "10")
    @changeover.sign_report
    @changeover.stage("live")
    test("live", "keep")
    @place.execute(SHARE)
    night("live")
    verified
    test("live", "transaction")
  end

  # The application's tests delete all that there is, or truncate it, and begin anew.
  def cleaned
    (@place.cleanings - ["transaction"]).each do |cleaning|
      test("live", cleaning)
      verified
    end
  end

  def test(stage, *cleanings)
    cleanings.each { |cleaning| tell(stage, "#{cleaning}: #{@application.test(cleaning)}") }
  end

  def night(stage)
    tell(stage, "night: #{@application.night}")
  end

  def verified
    found = @changeover.verify
    tell("verify", "drift #{found.fetch('drift')} of #{found.fetch('blocks').sum { |block| block.fetch('keys') }} keys, nothing pending")
  end

  def tell(step, text)
    $stdout.write(format("%-9s %-24s %s\n", @kind, step, text))
  end
end
